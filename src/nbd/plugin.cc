// nbdkit's plugin: every volume and snapshot of a pool is an export, by name or id.
//
//   nbdkit -f -U pool.nbd nbdkit-karst-plugin.so pool=pool.karst [cache-size=64M]
//
// nbdkit brings each request in a thread of its own, which carries it through (thin/pool/volume.h). FUA, trim
// and zero keep their meaning (TH-005); errors become the few that NBD has (TH-055). While it runs, the
// pool's control socket answers (control/socket.h).
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "block/open.h"
#include "control/socket.h"
#include "thin/format/errors.h"
#include "thin/home/home.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

namespace karst::nbd {
namespace {

class NbdkitLog final : public LogSink {
 public:
  void write(const LogRecord& record) override {
    if (record.level >= LogLevel::warning)
      nbdkit_error("%s", record.text().c_str());
    else
      nbdkit_debug("%s", record.text().c_str());
  }
};

// What nbdkit's callbacks, which have no argument for it, work on: made and ended by load and unload.
struct Served {
  std::string pool;
  thin::HomeOptions options;
  NbdkitLog log;
  std::unique_ptr<thin::Home> home;
  std::unique_ptr<control::Server> control;
};
std::unique_ptr<Served> served;

struct Connection {
  thin::VolumeRef volume;
  bool read_only = false;
};
Connection& connection(void* handle) { return *static_cast<Connection*>(handle); }

// The errors that a client can be told: those of the NBD protocol.
int nbd_errno(const Error& error) {
  if (error.is(err::no_space)) return ENOSPC;
  if (error.is(err::no_memory)) return ENOMEM;
  if (error.is(err::read_only)) return EPERM;
  if (error.is(err::unsupported)) return EOPNOTSUPP;
  if (error.is(err::invalid)) return EINVAL;
  return EIO;
}

int tell(const Error& error) {
  nbdkit_error("%s", error.message().c_str());
  nbdkit_set_error(nbd_errno(error));
  return -1;
}
int tell(const Result<void>& outcome) { return outcome ? 0 : tell(outcome.error()); }

// Everything that nbdkit calls; nothing is thrown through it.
template <typename F>
auto guarded(F&& function) -> decltype(function()) {
  using R = decltype(function());
  try {
    return function();
  } catch (const std::bad_alloc&) {
    nbdkit_error("not enough memory");
    nbdkit_set_error(ENOMEM);
  } catch (const std::exception& exception) {
    nbdkit_error("%s", exception.what());
    nbdkit_set_error(EIO);
  }
  if constexpr (std::is_pointer_v<R>)
    return nullptr;
  else
    return -1;
}

void load() { served = std::make_unique<Served>(); }
void unload() { served.reset(); }

int config(const char* key, const char* value) {
  return guarded([&] {
    if (std::strcmp(key, "pool") == 0) {
      char* absolute = nbdkit_absolute_path(value);
      if (absolute == nullptr) return -1;
      served->pool = absolute;
      std::free(absolute);
      return 0;
    }
    if (std::strcmp(key, "cache-size") == 0) {
      auto size = block::parse_size(value);
      if (!size) return tell(size.error());
      served->options.cache_size = *size;
      return 0;
    }
    if (std::strcmp(key, "socket") == 0) {
      served->options.socket = value;
      return 0;
    }
    nbdkit_error("unknown parameter '%s'", key);
    return -1;
  });
}

int config_complete() {
  if (!served->pool.empty()) return 0;
  nbdkit_error("the parameter pool=FILE is missing");
  return -1;
}

// After nbdkit has gone to the background: threads do not survive that.
int after_fork() {
  return guarded([] {
    served->options.log = Logger(served->log);
    auto home = thin::Home::open(served->pool, served->options);
    if (!home) return tell(home.error());
    served->home = std::move(*home);
    auto control = control::Server::start(*served->home);
    if (!control) return tell(control.error());
    served->control = std::move(*control);
    return 0;
  });
}

void cleanup() {
  served->control.reset();
  served->home.reset();
}

int list_exports(int, int, nbdkit_exports* exports) {
  return guarded([&] {
    for (const thin::VolumeEntry& volume : served->home->description().volumes) {
      if (volume.state != thin::VolumeEntry::State::ready) continue;
      const std::string what = volume.snapshot_of.empty()
                                   ? fmt::format("volume {}", volume.id)
                                   : fmt::format("snapshot {} of {}", volume.id, volume.snapshot_of);
      if (nbdkit_add_export(exports, volume.name.c_str(), what.c_str()) < 0) return -1;
    }
    return 0;
  });
}

// The only volume, if there is one.
const char* default_export(int, int) {
  return guarded([]() -> const char* {
    const auto volumes = served->home->description().volumes;
    return volumes.size() == 1 ? nbdkit_strdup_intern(volumes.begin()->name.c_str()) : "";
  });
}

void* open(int read_only) {
  return guarded([&]() -> void* {
    const char* name = nbdkit_export_name();
    if (name == nullptr) return nullptr;
    auto entry = served->home->volume(*name == '\0' ? default_export(0, 0) : name);
    if (!entry) {
      tell(entry.error());
      return nullptr;
    }
    auto volume = served->home->open_volume(*entry);
    if (!volume) {
      tell(volume.error());
      return nullptr;
    }
    return new Connection{std::move(*volume), read_only != 0 || entry->read_only};
  });
}

void close(void* handle) { delete static_cast<Connection*>(handle); }

int64_t get_size(void* handle) { return static_cast<int64_t>(connection(handle).volume->size()); }

int block_size(void* handle, uint32_t* minimum, uint32_t* preferred, uint32_t* maximum) {
  const thin::Volume& volume = *connection(handle).volume;
  *minimum = volume.block_size();
  // The protocol wants a power of two, and no more than the maximum.
  uint64_t whole = 4096;
  while (whole * 2 <= volume.pool().block_size() && whole < (1 << 20)) whole *= 2;
  *preferred = static_cast<uint32_t>(whole);
  *maximum = 64 << 20;
  return 0;
}

int can_write(void* handle) { return !connection(handle).read_only; }
int yes(void*) { return 1; }
int can_trim(void* handle) { return connection(handle).volume->discard_max() != 0; }
int native_fua(void*) { return NBDKIT_FUA_NATIVE; }

block::IoFlags io_flags(uint32_t flags) {
  return (flags & NBDKIT_FLAG_FUA) != 0 ? block::IoFlags::fua : block::IoFlags::none;
}

int pread(void* handle, void* buffer, uint32_t count, uint64_t offset, uint32_t) {
  return guarded([&] {
    return tell(connection(handle).volume->read(offset, {static_cast<std::byte*>(buffer), count}));
  });
}

int pwrite(void* handle, const void* buffer, uint32_t count, uint64_t offset, uint32_t flags) {
  return guarded([&] {
    return tell(connection(handle).volume->write(offset, {static_cast<const std::byte*>(buffer), count},
                                                 io_flags(flags)));
  });
}

int flush(void* handle, uint32_t) {
  return guarded([&] { return tell(connection(handle).volume->flush()); });
}

int trim(void* handle, uint32_t count, uint64_t offset, uint32_t flags) {
  return guarded([&] { return tell(connection(handle).volume->discard(offset, count, io_flags(flags))); });
}

int zero(void* handle, uint32_t count, uint64_t offset, uint32_t flags) {
  return guarded([&] {
    const auto keep = (flags & NBDKIT_FLAG_MAY_TRIM) != 0 ? block::IoFlags::none : block::IoFlags::no_unmap;
    return tell(connection(handle).volume->write_zeroes(offset, count, io_flags(flags) | keep));
  });
}

int extents(void* handle, uint32_t count, uint64_t offset, uint32_t, nbdkit_extents* extents) {
  return guarded([&] {
    const Connection& client = connection(handle);
    int failed = 0;
    auto walked = client.volume->extents(offset, count, [&](uint64_t at, uint64_t length, bool data) {
      const uint32_t type = data ? 0 : NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO;
      failed = nbdkit_add_extent(extents, at, length, type);
      return failed == 0;
    });
    return walked ? failed : tell(walked.error());
  });
}

constexpr nbdkit_plugin make_plugin() {
  nbdkit_plugin plugin{};
  plugin.name = "karst";
  plugin.longname = "karst thin pools";
  plugin.description = "Serves the volumes of a dm-thin pool";
  plugin.config_help =
      "pool=FILE        the pool's file\ncache-size=SIZE  metadata kept in memory (default 64M)\n"
      "socket=PATH      where nbdkit listens, for who asks the pool";
  plugin.magic_config_key = "pool";
  plugin.load = load;
  plugin.unload = unload;
  plugin.config = config;
  plugin.config_complete = config_complete;
  plugin.after_fork = after_fork;
  plugin.cleanup = cleanup;
  plugin.list_exports = list_exports;
  plugin.default_export = default_export;
  plugin.open = open;
  plugin.close = close;
  plugin.get_size = get_size;
  plugin.block_size = block_size;
  plugin.can_write = can_write;
  plugin.can_flush = yes;
  plugin.can_trim = can_trim;
  plugin.can_zero = yes;
  plugin.can_extents = yes;
  plugin.can_multi_conn = yes;
  plugin.can_fua = native_fua;
  plugin.pread = pread;
  plugin.pwrite = pwrite;
  plugin.flush = flush;
  plugin.trim = trim;
  plugin.zero = zero;
  plugin.extents = extents;
  plugin.errno_is_preserved = 0;
  return plugin;
}
nbdkit_plugin plugin = make_plugin();

}  // namespace
}  // namespace karst::nbd

NBDKIT_REGISTER_PLUGIN(karst::nbd::plugin)

#include "block/nbd_device.h"

#if KARST_LIBNBD

#include <fcntl.h>
#include <libnbd.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "core/without_throwing.h"

namespace karst::block {
namespace {

constexpr unsigned connections_most = 4;
constexpr uint64_t server_piece_max =
    32 << 20;  // what every server has to take (doc/proto.md, "Block size constraints")
constexpr uint64_t extents_piece = 1 << 30;  // block status asks for so much at a time
constexpr size_t pieces_under_way = 16;
constexpr uint64_t least_piece = 16 << 10;
constexpr int connecting_step_ms = 100;
constexpr auto connecting_max = std::chrono::minutes(5);
constexpr const char* allocation = LIBNBD_CONTEXT_BASE_ALLOCATION;

// libnbd keeps the last error of each thread.
int last_errno() {
  const int value = ::nbd_get_errno();
  return value != 0 ? value : EIO;
}

}  // namespace

std::string nbd_unix_uri(std::string_view socket, std::string_view export_name) {
  const auto encoded = [](std::string_view text) {
    std::string result;
    for (const char c : text) {
      const bool plain =
          std::isalnum(static_cast<unsigned char>(c)) != 0 || std::strchr("-._~/", c) != nullptr;
      result += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
    return result;
  };
  return fmt::format("nbd+unix:///{}?socket={}", encoded(export_name), encoded(socket));
}

void NbdDevice::Close::operator()(nbd_handle* handle) const { ::nbd_close(handle); }

// A connection while a thread uses it.
class NbdDevice::Lease {
 public:
  Lease(NbdDevice& device, Connection connection) : device_(device), connection_(std::move(connection)) {}
  ~Lease() { device_.give_back(std::move(connection_)); }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  nbd_handle* get() const { return connection_.get(); }

 private:
  NbdDevice& device_;
  Connection connection_;
};

NbdDevice::NbdDevice(std::string name, std::vector<std::string> command, OpenMode mode, CancelToken cancel)
    : name_(std::move(name)),
      command_(std::move(command)),
      writable_(mode == OpenMode::read_write),
      abandoned_(std::move(cancel)) {}
NbdDevice::~NbdDevice() = default;

Error NbdDevice::failed(const char* operation) const {
  const char* why = ::nbd_get_error();
  return Error::make(err::io, "{}: {}", operation, why != nullptr ? why : "unknown error")
      .at("device", name_);
}

// ---- connections

Result<NbdDevice::Connection> NbdDevice::connect_once() const {
  Connection made{std::unique_ptr<nbd_handle, Close>(::nbd_create())};
  if (!made) return failed("making a connection");
  nbd_handle* handle = made.get();
  if (::nbd_add_meta_context(handle, allocation) != 0) return failed("asking for extents");
  int started = 0;
  if (command_.empty()) {
    // The URI names a file of keys, a socket: whoever wrote it may use them.
    ::nbd_set_uri_allow_local_file(handle, true);
    started = ::nbd_aio_connect_uri(handle, name_.c_str());
  } else {
    std::vector<char*> words;
    for (const std::string& word : command_) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    started = ::nbd_aio_connect_systemd_socket_activation(handle, words.data());
  }
  if (started != 0) return failed("connecting");
  // As long as it takes to open anything, or until nobody wants it any more.
  const auto limit = std::chrono::steady_clock::now() + connecting_max;
  while (::nbd_aio_is_ready(handle) == 0) {
    if (std::chrono::steady_clock::now() > limit)
      return Error(err::io, "connecting: the server does not answer").at("device", name_);
    if (abandoned_.cancelled())
      return Error(err::cancelled, "connecting: the server has not answered").at("device", name_);
    if (::nbd_poll(handle, connecting_step_ms) < 0) return failed("connecting");
    if (::nbd_aio_is_dead(handle) > 0 || ::nbd_aio_is_closed(handle) > 0) return failed("connecting");
  }
  made.socket = UniqueFd(::fcntl(::nbd_aio_get_fd(handle), F_DUPFD_CLOEXEC, 0));
  if (made.socket.get() < 0) return Error::from_errno(errno, "connecting").at("device", name_);
  return made;
}

Result<void> NbdDevice::learn(nbd_handle* handle) {
  const int64_t size = ::nbd_get_size(handle);
  if (size < 0) return failed("asking for the size");
  size_.store(static_cast<uint64_t>(size), std::memory_order_release);
  if (writable_ && ::nbd_is_read_only(handle) != 0)
    return Error(err::read_only, "the server lets nobody write to it").at("device", name_);
  can_flush_ = ::nbd_can_flush(handle) > 0;
  can_fua_ = ::nbd_can_fua(handle) > 0;
  can_trim_ = ::nbd_can_trim(handle) > 0;
  can_zero_ = ::nbd_can_zero(handle) > 0;
  knows_extents_ = ::nbd_can_meta_context(handle, allocation) > 0;
  if (command_.empty() && ::nbd_can_multi_conn(handle) > 0) connections_max_ = connections_most;
  const int64_t least = ::nbd_get_block_size(handle, LIBNBD_SIZE_MINIMUM);
  const int64_t most = ::nbd_get_block_size(handle, LIBNBD_SIZE_MAXIMUM);
  if (least > 1) read_alignment_ = static_cast<uint32_t>(least);
  if (!std::has_single_bit(read_alignment_) || read_alignment_ > 65536)
    return Error::make(err::unsupported, "the server wants blocks of {} bytes", read_alignment_)
        .at("device", name_);
  block_size_ = std::max(block_size_, read_alignment_);
  piece_max_ = most > 0 ? std::min(static_cast<uint64_t>(most), server_piece_max) : server_piece_max;
  piece_max_ = std::max<uint64_t>(piece_max_ / block_size_ * block_size_, block_size_);
  return {};
}

Result<std::unique_ptr<Device>> NbdDevice::open(std::string name, std::vector<std::string> command,
                                                OpenMode mode, CancelToken cancel) {
  std::unique_ptr<NbdDevice> device(
      new NbdDevice(std::move(name), std::move(command), mode, std::move(cancel)));
  Connection first = TRY(device->connect_once());
  TRY(device->learn(first.get()));
  {
    // What is done with connections later needs no memory.
    MutexLock lock(device->mutex_);
    device->idle_.reserve(device->connections_max_);
    device->in_use_.reserve(device->connections_max_);
    device->connections_ = 1;
  }
  device->give_back(std::move(first));
  return std::unique_ptr<Device>(std::move(device));
}

Result<std::unique_ptr<Device>> NbdDevice::connect(const std::string& uri, OpenMode mode,
                                                   CancelToken cancel) {
  return open(uri, {}, mode, std::move(cancel));
}
Result<std::unique_ptr<Device>> NbdDevice::serve(std::vector<std::string> command, std::string name,
                                                 OpenMode mode, CancelToken cancel) {
  return open(std::move(name), std::move(command), mode, std::move(cancel));
}

Error NbdDevice::connection_lost() const {
  return Error(err::io, "the connection to the server was lost, and what was not flushed may be")
      .at("device", name_);
}

Result<NbdDevice::Connection> NbdDevice::take() {
  {
    MutexLock lock(mutex_);
    while (!lost_ && (resizing_ || (idle_.empty() && connections_ == connections_max_)))
      changed_.wait(mutex_);
    if (lost_) return connection_lost();
    if (!idle_.empty()) {
      in_use_.push_back(idle_.back().socket.get());
      Connection taken = std::move(idle_.back());
      idle_.pop_back();
      return taken;
    }
    ++connections_;
  }
  auto made = without_throwing([&] { return connect_once(); });
  if (made) return lend(*std::move(made));
  MutexLock lock(mutex_);
  --connections_;
  changed_.notify_all();
  return std::move(made).error();
}

// A new connection: given up meanwhile, perhaps.
Result<NbdDevice::Connection> NbdDevice::lend(Connection connection) {
  MutexLock lock(mutex_);
  if (!lost_) {
    in_use_.push_back(connection.socket.get());
    return connection;
  }
  --connections_;
  changed_.notify_all();
  return connection_lost();
}

void NbdDevice::abandon() {
  abandoned_.cancel();  // first: who connects may hold the lock
  MutexLock lock(mutex_);
  lost_ = true;
  // Whoever waits for an answer on them finds the other side gone.
  for (const int socket : in_use_) ::shutdown(socket, SHUT_RDWR);
  changed_.notify_all();
}

// One that is dead is closed here, before whoever had requests on it goes on: they are over then.
void NbdDevice::give_back(Connection connection) {
  if (connection) {
    MutexLock lock(mutex_);
    std::erase(in_use_, connection.socket.get());
  }
  const bool dead =
      connection && (::nbd_aio_is_dead(connection.get()) > 0 || ::nbd_aio_is_closed(connection.get()) > 0);
  if (dead) connection = {};
  MutexLock lock(mutex_);
  if (dead) lost_ = true;
  if (connection && !lost_)
    idle_.push_back(std::move(connection));
  else
    --connections_;
  changed_.notify_all();
}

// Old connections know the old size, and refuse what is beyond it. They end first: of a server of our own
// there is one.
Result<void> NbdDevice::resize(uint64_t size) {
  TRY(flush());
  MutexLock lock(mutex_);
  while (resizing_) changed_.wait(mutex_);
  resizing_ = true;
  while (idle_.size() != connections_) changed_.wait(mutex_);
  auto resized = resize_locked(size);
  resizing_ = false;
  changed_.notify_all();
  return resized;
}

Result<void> NbdDevice::resize_locked(uint64_t size) {
  if (lost_) return connection_lost();
  idle_.clear();
  connections_ = 0;
  Connection fresh = TRY(connect_once());
  const int64_t found = ::nbd_get_size(fresh.get());
  if (found < 0) return failed("asking for the size");
  idle_.push_back(std::move(fresh));
  connections_ = 1;
  if (static_cast<uint64_t>(found) < size)
    return Error(err::no_space, "the export is too small").expected(size, found).at("device", name_);
  size_.store(size, std::memory_order_release);
  return {};
}

// ---- requests

Result<void> NbdDevice::perform(const IoRequest& request) {
  if (has(request.flags, IoFlags::nowait)) return failed_request(*this, request, EAGAIN);
  if (request.op == IoOp::discard && !can_trim_) return failed_request(*this, request, EOPNOTSUPP);
  Lease lease(*this, TRY(take()));
  TRY(transfer(lease.get(), request));
  const bool stable_already = request.op != IoOp::flush && can_fua_;
  if (makes_stable(request) && !stable_already && can_flush_ && ::nbd_flush(lease.get(), 0) != 0)
    return failed_request(*this, request, last_errno());
  return {};
}

uint32_t NbdDevice::command_flags(const IoRequest& request) const {
  return has(request.flags, IoFlags::fua) && can_fua_ ? LIBNBD_CMD_FLAG_FUA : 0;
}

Result<void> NbdDevice::transfer(nbd_handle* handle, const IoRequest& request) {
  switch (request.op) {
    case IoOp::flush: return {};
    case IoOp::read:
      if ((request.offset | request.length) % read_alignment_ != 0) return read_around(handle, request);
      [[fallthrough]];
    case IoOp::write: return move_pieces(handle, request, request.buffers);
    case IoOp::discard:
    case IoOp::write_zeroes: return clear(handle, request);
  }
  return {};
}

Result<void> NbdDevice::read_around(nbd_handle* handle, const IoRequest& request) {
  const uint64_t begin = request.offset / read_alignment_ * read_alignment_;
  const uint64_t end = std::min(
      (request.offset + request.length + read_alignment_ - 1) / read_alignment_ * read_alignment_, size());
  std::vector<std::byte> bytes(end - begin);
  const iovec whole{bytes.data(), bytes.size()};
  TRY(move_pieces(handle, {.op = IoOp::read, .offset = begin, .length = end - begin}, {&whole, 1}));
  for_each_piece(request.buffers, [&](MutableBytes piece, uint64_t position) {
    std::memcpy(piece.data(), bytes.data() + (request.offset - begin) + position, piece.size());
  });
  return {};
}

// A few pieces are under way at a time. None is when this returns: they use the caller's buffers.
Result<void> NbdDevice::move_pieces(nbd_handle* handle, const IoRequest& request,
                                    std::span<const iovec> buffers) {
  const uint32_t flags = command_flags(request);
  // Nothing may throw while requests are under way.
  std::vector<int64_t> under_way;
  under_way.reserve(pieces_under_way);
  int failure = 0;
  const auto wait_for_all = [&] {
    for (const int64_t cookie : under_way) {
      int completed = -1;
      while ((completed = ::nbd_aio_command_completed(handle, static_cast<uint64_t>(cookie))) == 0)
        if (::nbd_poll(handle, -1) < 0) {
          // Not known to be over: they are when the connection is, and it ends with this request.
          MutexLock lock(mutex_);
          lost_ = true;
          completed = -1;
          break;
        }
      if (completed < 0 && failure == 0) failure = last_errno();
    }
    under_way.clear();
  };
  const auto start = [&](MutableBytes piece, uint64_t at) {
    if (under_way.size() == pieces_under_way) wait_for_all();
    if (failure != 0) return;
    const int64_t cookie =
        request.op == IoOp::read
            ? ::nbd_aio_pread(handle, piece.data(), piece.size(), at, NBD_NULL_COMPLETION, flags)
            : ::nbd_aio_pwrite(handle, piece.data(), piece.size(), at, NBD_NULL_COMPLETION, flags);
    if (cookie < 0)
      failure = last_errno();
    else
      under_way.push_back(cookie);
  };
  // Pieces end where blocks do: buffers that do not are put together, and so are many small ones.
  uint64_t aligned = 0;
  for (const iovec& buffer : buffers) aligned |= buffer.iov_len;
  std::vector<std::byte> joined;
  iovec one{};
  if (aligned % read_alignment_ != 0 ||
      (buffers.size() > 1 && request.length / buffers.size() < least_piece)) {
    joined.resize(request.length);
    one = {joined.data(), joined.size()};
    if (request.op == IoOp::write)
      for_each_piece(buffers, [&](MutableBytes piece, uint64_t position) {
        std::memcpy(joined.data() + position, piece.data(), piece.size());
      });
  }
  for_each_piece(joined.empty() ? buffers : std::span<const iovec>(&one, 1),
                 [&](MutableBytes buffer, uint64_t position) {
                   for (uint64_t done = 0; done < buffer.size(); done += piece_max_)
                     start(buffer.subspan(done, std::min<uint64_t>(piece_max_, buffer.size() - done)),
                           request.offset + position + done);
                 });
  wait_for_all();
  if (failure != 0) return failed_request(*this, request, failure);
  if (!joined.empty() && request.op == IoOp::read)
    for_each_piece(buffers, [&](MutableBytes piece, uint64_t position) {
      std::memcpy(piece.data(), joined.data() + position, piece.size());
    });
  return {};
}

Result<void> NbdDevice::clear(nbd_handle* handle, const IoRequest& request) {
  const uint32_t flags = command_flags(request);
  // Lengths of these are not bounded by what a transfer may have.
  const uint64_t most =
      request.op == IoOp::discard || can_zero_ ? uint64_t{1} << 30 : std::min<uint64_t>(piece_max_, 1 << 20);
  std::vector<std::byte> zeroes;
  if (request.op == IoOp::write_zeroes && !can_zero_) zeroes.resize(std::min(most, request.length));
  for (uint64_t done = 0; done < request.length; done += most) {
    const uint64_t length = std::min(most, request.length - done), at = request.offset + done;
    int result = 0;
    if (request.op == IoOp::discard)
      result = ::nbd_trim(handle, length, at, flags);
    else if (can_zero_)
      result = ::nbd_zero(handle, length, at,
                          flags | (has(request.flags, IoFlags::no_unmap) ? LIBNBD_CMD_FLAG_NO_HOLE : 0));
    else
      result = ::nbd_pwrite(handle, zeroes.data(), length, at, flags);
    if (result != 0) return failed_request(*this, request, last_errno());
  }
  return {};
}

// ---- extents

Result<void> NbdDevice::extents(uint64_t offset, uint64_t length, ExtentListener each) {
  if (!knows_extents_) return Device::extents(offset, length, each);
  struct Answer {
    std::vector<std::pair<uint64_t, bool>> runs;  // length, whether there may be data
    static int take(void* user, const char*, uint64_t, uint32_t* entries, size_t count, int*) {
      try {
        for (size_t i = 0; i + 1 < count; i += 2)
          static_cast<Answer*>(user)->runs.emplace_back(entries[i],
                                                        (entries[i + 1] & LIBNBD_STATE_ZERO) == 0);
        return 0;
      } catch (const std::bad_alloc&) {
        return -1;
      }
    }
  };
  ExtentRuns runs(offset, offset + length, each);
  uint64_t at = offset;
  while (at < offset + length && runs.wanted()) {
    // Asked for within whole blocks; the answer may be about less, and about more.
    const uint64_t begin = at / read_alignment_ * read_alignment_;
    const uint64_t end = std::min((std::min(offset + length, begin + extents_piece) + read_alignment_ - 1) /
                                      read_alignment_ * read_alignment_,
                                  size());
    Answer answer;
    nbd_extent_callback callback{};
    callback.callback = &Answer::take;
    callback.user_data = &answer;
    {
      // Not kept: the listener may want to read.
      Lease lease(*this, TRY(take()));
      if (::nbd_block_status(lease.get(), end - begin, begin, callback, 0) != 0) answer.runs.clear();
    }
    if (answer.runs.empty()) {  // a server that does not say
      runs.extend(offset + length, true);
      break;
    }
    uint64_t known = begin;
    for (const auto& [run, data] : answer.runs) {
      known += run;
      runs.extend(known, data);
    }
    if (known <= at) return Error(err::io, "the server tells nothing of its extents").at("device", name_);
    at = known;
  }
  runs.end();
  return {};
}

}  // namespace karst::block

#endif

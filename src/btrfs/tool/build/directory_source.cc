#include "btrfs/tool/build/directory_source.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/paths.h"
#include "core/ordered_queue.h"
#include "core/spill_queue.h"

namespace karst::btrfs::build {
namespace {
constexpr size_t names_at_once = 16384;
constexpr size_t batch_bytes = 1 << 20;
constexpr size_t directories_at_once = 16;

Time time_of(const statx_timestamp& time) { return {time.tv_sec, time.tv_nsec}; }

Attributes attributes_of(const struct statx& status) {
  Attributes attributes{.mode = status.stx_mode,
                        .uid = status.stx_uid,
                        .gid = status.stx_gid,
                        .device_major = status.stx_rdev_major,
                        .device_minor = status.stx_rdev_minor,
                        .size = S_ISREG(status.stx_mode) ? status.stx_size : 0,
                        .atime = time_of(status.stx_atime),
                        .mtime = time_of(status.stx_mtime),
                        .ctime = time_of(status.stx_ctime)};
  attributes.otime = status.stx_mask & STATX_BTIME ? time_of(status.stx_btime) : attributes.mtime;
  return attributes;
}

uint64_t device_of(const struct statx& status) { return makedev(status.stx_dev_major, status.stx_dev_minor); }

// Makes entries of what statx says. One for each thread.
class Entries {
 public:
  Entries(const DirectoryScan& scan, uint64_t root_device) : scan_(scan), root_device_(root_device) {}

  // Puts the entry `name` of the open directory; `path` is from the source's root. Sets `enter` if it is a
  // directory to be listed. Errors of the source have been to the policy.
  template <typename Put>
  Result<void> add(int directory, const char* name, std::string_view path, bool& enter, Put put);
  Result<void> failed(int errno_value, const char* operation, std::string_view path) {
    return refuse(source_error(errno_value, operation, scan_.files.location(scan_.source), path));
  }

 private:
  Result<void> refuse(Error error) {
    return scan_.options.errors ? scan_.options.errors->failed(std::move(error)) : std::move(error);
  }

  const DirectoryScan& scan_;
  const uint64_t root_device_;
  char link_[PATH_MAX];
  std::string image_path_;
};

template <typename Put>
Result<void> Entries::add(int directory, const char* name, std::string_view path, bool& enter, Put put) {
  enter = false;
  struct statx status;
  if (int why = scan_status(directory, name, status)) return failed(why, "reading its attributes", path);
  if (scan_.options.excludes(device_of(status), status.stx_ino)) return {};
  const uint32_t type = status.stx_mode & mode::type_mask;
  if (file_type_of(status.stx_mode) == FileType::unknown)
    return refuse(
        Error::make(err::source_unsupported, "{}: a file of a type that btrfs does not have (mode {:o})",
                    shown_path(join_paths(scan_.files.location(scan_.source), path)), status.stx_mode));
  const FileOrigin origin{.source = scan_.source,
                          .path = path,
                          .change_token = change_token(status),
                          .read_xattrs = scan_.spec.overrides.keep_xattrs,
                          .may_be_sparse = status.stx_blocks * 512 < status.stx_size};
  const LinkKey link_key{uint64_t{scan_.source} + 1, device_of(status), status.stx_ino};
  Entry entry{.attributes = attributes_of(status), .origin = &origin};
  if (status.stx_nlink > 1 && type != mode::directory) entry.link_key = &link_key;
  if (type == mode::regular && status.stx_size > 0) entry.content = ContentKind::source_file;
  if (type == mode::symlink) {
    const ssize_t size = ::readlinkat(directory, name, link_, sizeof link_);
    if (size < 0) return failed(errno, "reading the symlink", path);
    if (static_cast<size_t>(size) == sizeof link_)
      return refuse(Error::make(err::source_target_too_long, "{}: a symlink's target of more than {} bytes",
                                shown_path(join_paths(scan_.files.location(scan_.source), path)),
                                sizeof link_ - 1));
    entry.content = ContentKind::bytes;
    entry.content_bytes = as_bytes({link_, static_cast<size_t>(size)});
    entry.attributes.size = static_cast<uint64_t>(size);
  }
  apply_overrides(scan_.spec.overrides, entry.attributes);
  image_path_.assign(scan_.target);
  if (!image_path_.empty() && !path.empty()) image_path_ += '/';
  image_path_ += path;
  auto done = put(image_path_, entry);
  if (!done) return done.error().is(err::source) ? refuse(std::move(done).error()) : std::move(done);
  enter = type == mode::directory && !(scan_.spec.one_file_system && device_of(status) != root_device_);
  return {};
}

// Some directories to list; the first may be half read already.
struct Work {
  std::vector<std::string> directories;
  UniqueFd half_read;  // the first one's
};
struct Found {
  EntryBatch batch;
  std::vector<std::string> directories;  // to be listed
  Work rest;                             // what there was no room for
  uint64_t entries = 0;
};

class Lister {
 public:
  Lister(const DirectoryScan& scan, uint64_t root_device, Work work, EntryBatch batch)
      : scan_(scan),
        entries_(scan, root_device),
        work_(std::move(work)),
        found_{std::move(batch), {}, {}, 0} {}

  Result<Found> run() {
    size_t done = 0;
    for (; done < work_.directories.size() && found_.batch.size_bytes() < batch_bytes; ++done)
      if (!TRY(list(work_.directories[done]))) break;
    for (; done < work_.directories.size(); ++done)
      found_.rest.directories.push_back(std::move(work_.directories[done]));
    return std::move(found_);
  }

 private:
  // False if the directory was left half read.
  Result<bool> list(const std::string& path) {
    UniqueFd fd = std::move(work_.half_read);
    if (!fd) fd.reset(open_below(scan_.files.root(scan_.source), path, O_RDONLY | O_DIRECTORY));
    if (!fd) {
      TRY(entries_.failed(errno, "opening the directory", path));
      return true;
    }
    for (bool more = true; more;) {
      if (found_.batch.size_bytes() >= batch_bytes) {
        found_.rest.half_read = std::move(fd);
        return false;
      }
      const int why = read_names(fd.get(), more);
      if (why != 0) TRY(entries_.failed(why, "listing the directory", path));
      if (scan_.on_listed) scan_.on_listed(path);
      TRY(add_names(fd.get(), path));
    }
    return true;
  }

  // Some thousands of names, sorted. 0 or an errno.
  int read_names(int fd, bool& more) {
    names_.clear();
    name_bytes_.clear();
    offsets_.clear();
    while (offsets_.size() < names_at_once) {
      const ssize_t size = ::getdents64(fd, buffer_.data(), buffer_.size());
      more = size > 0;
      if (size < 0) return errno;
      if (size == 0) break;
      for (ssize_t at = 0; at < size;) {
        const auto* entry = reinterpret_cast<const dirent64*>(buffer_.data() + at);
        at += entry->d_reclen;
        const std::string_view name = entry->d_name;
        if (name == "." || name == "..") continue;
        offsets_.push_back(name_bytes_.size());
        name_bytes_.append(name.data(), name.size() + 1);
      }
    }
    for (size_t offset : offsets_) names_.emplace_back(name_bytes_.c_str() + offset);
    std::sort(names_.begin(), names_.end());
    return 0;
  }

  Result<void> add_names(int fd, const std::string& directory) {
    path_ = directory;
    if (!path_.empty()) path_ += '/';
    const size_t prefix = path_.size();
    found_.entries += names_.size();
    for (std::string_view name : names_) {
      path_.resize(prefix);
      path_ += name;
      bool enter;
      TRY(entries_.add(fd, name.data(), path_, enter, [this](std::string_view path, const Entry& entry) {
        return found_.batch.put(path, entry);
      }));
      if (enter) found_.directories.push_back(path_);
    }
    return {};
  }

  const DirectoryScan& scan_;
  Entries entries_;
  Work work_;
  Found found_;
  alignas(dirent64) std::array<char, 32 << 10> buffer_;
  std::string name_bytes_, path_;
  std::vector<size_t> offsets_;
  std::vector<std::string_view> names_;  // each followed by a NUL
};

class Scanner {
 public:
  Scanner(const DirectoryScan& scan, Inventory& inventory, WorkerPool& pool, uint64_t root_device)
      : scan_(scan),
        inventory_(inventory),
        root_device_(root_device),
        in_flight_limit_(2 * pool.thread_count() + 2),
        waiting_(inventory.options().temporary_directory, 1 << 20),
        queue_(pool, {.items = in_flight_limit_}, {.cancel = scan.options.cancel}) {}

  Result<void> run() {
    TRY(waiting_.push({}));
    waiting_count_ = 1;
    for (size_t in_flight = 0; in_flight > 0 || waiting_count_ > 0 || !rest_.empty(); --in_flight) {
      while (in_flight < in_flight_limit_ && (waiting_count_ > 0 || !rest_.empty())) {
        TRY(submit(TRY(take_work())));
        ++in_flight;
      }
      std::optional<Found> found = TRY(queue_.next());
      TRY(inventory_.put(found->batch));
      scan_.options.progress.add(0, found->entries);
      for (const std::string& directory : found->directories) TRY(waiting_.push(as_bytes(directory)));
      waiting_count_ += found->directories.size();
      if (!found->rest.directories.empty()) rest_.push_back(std::move(found->rest));
    }
    return {};
  }

 private:
  Result<Work> take_work();
  Result<void> submit(Work work);

  const DirectoryScan& scan_;
  Inventory& inventory_;
  const uint64_t root_device_;
  const size_t in_flight_limit_;
  SpillQueue waiting_;
  size_t waiting_count_ = 0;
  std::vector<Work> rest_;
  OrderedQueue<Found> queue_;
};

// Few directories while there are few, so that all threads have some.
Result<Work> Scanner::take_work() {
  if (!rest_.empty()) {
    Work work = std::move(rest_.back());
    rest_.pop_back();
    return work;
  }
  Work work;
  const size_t count = std::clamp<size_t>(waiting_count_ / in_flight_limit_, 1, directories_at_once);
  for (size_t i = 0; i < count; ++i) {
    const std::optional<Bytes> path = TRY(waiting_.front());
    work.directories.emplace_back(as_text(*path));
    waiting_.pop();
    --waiting_count_;
  }
  return work;
}

Result<void> Scanner::submit(Work work) {
  return queue_.submit(1, [this, mine = std::move(work), batch = inventory_.new_batch()]() mutable {
    auto lister = std::make_unique<Lister>(scan_, root_device_, std::move(mine), std::move(batch));
    return lister->run();
  });
}
}  // namespace

void apply_overrides(const SourceOverrides& overrides, Attributes& attributes) {
  attributes.uid = overrides.uid.value_or(attributes.uid);
  attributes.gid = overrides.gid.value_or(attributes.gid);
  const auto& permissions =
      attributes.is_directory() ? overrides.directory_permissions : overrides.file_permissions;
  if (permissions && !attributes.is_symlink()) attributes.mode = attributes.type() | (*permissions & 07777);
  attributes.mtime = overrides.mtime.value_or(attributes.mtime);
}

Result<void> scan_directory(const DirectoryScan& scan, Inventory& inventory, WorkerPool& pool) {
  inventory.begin_layer();
  TRY(inventory.ensure_parents(scan.target));
  struct statx status;
  if (int why = scan_status(scan.files.root(scan.source), "", status))
    return source_error(why, "reading its attributes", scan.files.location(scan.source), "");
  EntryBatch batch = inventory.new_batch();
  bool enter;
  TRY(Entries(scan, device_of(status))
          .add(scan.files.root(scan.source), "", "", enter,
               [&](std::string_view path, const Entry& entry) { return batch.put(path, entry); }));
  TRY(inventory.put(batch));
  return Scanner(scan, inventory, pool, device_of(status)).run();
}

Result<void> scan_file(const DirectoryScan& scan, std::string_view name, Inventory& inventory) {
  inventory.begin_layer();
  bool enter;
  const std::string text(name);
  return Entries(scan, 0).add(
      scan.files.root(scan.source), text.c_str(), name, enter,
      [&](std::string_view, const Entry& entry) { return inventory.put(scan.target, entry); });
}

}  // namespace karst::btrfs::build

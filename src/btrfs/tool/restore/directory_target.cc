#include "btrfs/tool/restore/directory_target.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <limits>

#include "btrfs/tool/restore/proc_path.h"
#include "core/unique_fd.h"

namespace karst::btrfs {
namespace {

// What has to be done in order, by the thread that takes the part.
struct Step {
  enum class Kind : uint8_t { directory, link, large_begins, large_ends } kind;
  CopiedEntry entry;
};
struct DirectoryPart : CopyTarget::Part {
  std::vector<Step> steps;
  std::vector<CopyLoss> losses;
};

// Errors of writes may come only here.
Result<void> close_file(UniqueFd file) {
  if (close(file.release()) != 0) return Error::from_errno(errno, "closing the file");
  return {};
}

Result<void> write_all(int fd, Bytes bytes, uint64_t offset) {
  while (!bytes.empty()) {
    const ssize_t written = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Error::from_errno(errno, "writing the file");
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return {};
}

// Gives the file its size, or as much of it as the target's file system takes: how much that is.
Result<uint64_t> give_size(int fd, uint64_t size) {
  const uint64_t wanted = std::min<uint64_t>(size, std::numeric_limits<off_t>::max());
  auto fits = [fd](uint64_t bytes) { return ftruncate(fd, static_cast<off_t>(bytes)) == 0; };
  if (fits(wanted)) return wanted;
  if (errno != EFBIG) return Error::from_errno(errno, "giving the file its size").at("size", size);
  uint64_t taken = 0, refused = wanted;
  while (refused - taken > 1) {
    const uint64_t middle = taken + (refused - taken) / 2;
    (fits(middle) ? taken : refused) = middle;
  }
  if (!fits(taken)) return Error::from_errno(errno, "giving the file its size").at("size", taken);
  return taken;
}

CopyLoss loss_behind(const CopiedEntry& entry, uint64_t end) {
  return {CopyLoss::Kind::range, entry.path, end, entry.attributes.size - end,
          Error::from_errno(EFBIG, "the target takes no larger file")};
}

// Writes [from, to) of the file, except for what is not known. `contents` begin at `base`.
Result<void> write_known(int fd, Bytes contents, uint64_t base, uint64_t from, uint64_t to,
                         CopyTarget::Failures failures) {
  for (const auto& failure : failures) {
    const uint64_t end = failure.offset + failure.length;
    if (failure.unverified || end <= from || failure.offset >= to) continue;
    if (failure.offset > from) TRY(write_all(fd, contents.subspan(from - base, failure.offset - from), from));
    from = std::min(std::max(from, end), to);
  }
  return write_all(fd, contents.subspan(from - base, to - from), from);
}

// A regular file for writing; nothing else, not even to look at: opening a device or pipe does things.
Result<UniqueFd> open_regular(const NameInDirectory& at) {
  UniqueFd found(openat(at.directory, at.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat st;
  if (found.get() < 0 || fstat(found.get(), &st) != 0) return Error::from_errno(errno, "opening the file");
  if (!S_ISREG(st.st_mode)) return Error(karst::err::invalid, "something else has taken the file's name");
  UniqueFd file(open(ProcPath(found.get()).c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() < 0) return Error::from_errno(errno, "opening the file");
  return file;
}

// Nanoseconds that are none mean something else to the system: "now", or nothing.
timespec possible(timespec time) {
  if (time.tv_nsec < 0 || time.tv_nsec > 999'999'999) time.tv_nsec = 0;
  return time;
}

bool is_acl(std::string_view name) { return name.starts_with("system.posix_acl_"); }

bool is_below(std::string_view path, std::string_view directory) {
  if (directory.empty()) return true;
  return path.size() > directory.size() && path.starts_with(directory) && path[directory.size()] == '/';
}

}  // namespace

DirectoryTarget::DirectoryTarget(int root, const DirectoryTargetOptions& options, LossListener lost)
    : root_(root),
      options_(options),
      lost_(lost),
      handles_([root] { return std::make_unique<DirectoryHandles>(root); }) {}

DirectoryTarget::~DirectoryTarget() { ::close(root_); }

Result<std::unique_ptr<DirectoryTarget>> DirectoryTarget::open(const std::string& path,
                                                               const DirectoryTargetOptions& options,
                                                               LossListener lost) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return Error::from_errno(errno, path);
  const int root = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) return Error::from_errno(errno, path);
  return std::unique_ptr<DirectoryTarget>(new DirectoryTarget(root, options, lost));
}

DirectoryTarget::Unset DirectoryTarget::unset() const {
  return {owners_.load(), modes_.load(), times_.load(), xattrs_.load()};
}

std::unique_ptr<CopyTarget::Part> DirectoryTarget::new_part() { return std::make_unique<DirectoryPart>(); }

// Makes sure that nothing has the name.
Result<void> DirectoryTarget::make_place(const NameInDirectory& at) {
  struct stat st;
  if (fstatat(at.directory, at.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) return {};
  if (!options_.overwrite)
    return Error(karst::err::exists, "exists in the target; use --overwrite to replace it");
  if (handles_.get().with_rights([&] { return unlinkat(at.directory, at.name.c_str(), 0); }) != 0)
    return Error::from_errno(errno, "removing what has this name in the target");
  return {};
}

Result<int> DirectoryTarget::create_file(const NameInDirectory& at) {
  TRY(make_place(at));
  const int fd = handles_.get().with_rights([&] {
    return openat(at.directory, at.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  });
  if (fd < 0) return Error::from_errno(errno, "creating the file");
  return fd;
}

Result<void> DirectoryTarget::prepare(const CopiedEntry& entry) {
  if (entry.path.empty()) return {};
  const NameInDirectory at = TRY(handles_.get().find(entry.path, true));
  if (!entry.attributes.is_directory()) {
    UniqueFd file(TRY(create_file(at)));
    const uint64_t size = TRY(give_size(file.get(), entry.attributes.size));
    if (size < entry.attributes.size) lost_(loss_behind(entry, size));
    return {};
  }
  auto make = [&] { return mkdirat(at.directory, at.name.c_str(), 0700); };
  if (handles_.get().with_rights(make) == 0) return {};
  const int reason = errno;
  struct stat st;
  if (reason != EEXIST || fstatat(at.directory, at.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
    return Error::from_errno(reason, "making the directory");
  if (S_ISDIR(st.st_mode)) return {};
  TRY(make_place(at));
  if (make() != 0) return Error::from_errno(errno, "making the directory");
  return {};
}

Result<void> DirectoryTarget::add(Part& part, CopiedEntry& entry, Bytes contents, Failures failures) {
  auto& steps = static_cast<DirectoryPart&>(part).steps;
  if (entry.attributes.is_directory()) {
    steps.push_back({Step::Kind::directory, std::move(entry)});
    return {};
  }
  if (!entry.hardlink.empty()) {
    steps.push_back({Step::Kind::link, std::move(entry)});
    return {};
  }
  const NameInDirectory at = TRY(handles_.get().find(entry.path, true));
  if (!entry.attributes.is_regular()) return make_special(at, entry);
  UniqueFd file(TRY(create_file(at)));
  const uint64_t size = contents.empty() ? 0 : TRY(give_size(file.get(), contents.size()));
  if (size < contents.size()) static_cast<DirectoryPart&>(part).losses.push_back(loss_behind(entry, size));
  if (entry.sparse)
    for (auto [offset, length] : entry.data)
      TRY(write_known(file.get(), contents, 0, std::min(offset, size), std::min(offset + length, size),
                      failures));
  else
    TRY(write_known(file.get(), contents, 0, 0, size, failures));
  TRY(close_file(std::move(file)));
  set_attributes(at, entry);
  return {};
}

Result<void> DirectoryTarget::make_special(const NameInDirectory& at, const CopiedEntry& entry) {
  TRY(make_place(at));
  const Attributes& attributes = entry.attributes;
  const int made = handles_.get().with_rights([&] {
    return attributes.is_symlink()
               ? symlinkat(entry.symlink.c_str(), at.directory, at.name.c_str())
               : mknodat(at.directory, at.name.c_str(), (attributes.mode & S_IFMT) | 0600, attributes.rdev);
  });
  if (made != 0) return Error::from_errno(errno, "making a link or node");
  set_attributes(at, entry);
  return {};
}

Result<void> DirectoryTarget::begin_pieces(Part& part, CopiedEntry& entry) {
  static_cast<DirectoryPart&>(part).steps.push_back({Step::Kind::large_begins, entry});
  return {};
}

Result<void> DirectoryTarget::add_piece(Part& part, const CopiedEntry& entry, uint64_t offset, Bytes contents,
                                        Failures failures, bool last) {
  if (last) static_cast<DirectoryPart&>(part).steps.push_back({Step::Kind::large_ends, {}});
  const NameInDirectory at = TRY(handles_.get().find(entry.path, false));
  UniqueFd file = TRY(open_regular(at));
  // What does not fit into the size that it has, was told when it got it.
  struct stat st;
  if (fstat(file.get(), &st) != 0) return Error::from_errno(errno, "looking at the file's size");
  const uint64_t end = std::min(offset + contents.size(), static_cast<uint64_t>(st.st_size));
  if (offset < end) TRY(write_known(file.get(), contents, offset, offset, end, failures));
  return close_file(std::move(file));
}

void DirectoryTarget::failed(const CopiedEntry& entry) {
  if (entry.attributes.nlink < 2 || entry.attributes.is_directory()) return;
  MutexLock lock(failed_mutex_);
  failed_.insert(entry.path);
}

Result<void> DirectoryTarget::link(const CopiedEntry& entry) {
  {
    // Under its name may be something else, which was there before.
    MutexLock lock(failed_mutex_);
    if (failed_.contains(entry.hardlink))
      return Error(karst::err::not_found,
                   fmt::format("'{}', which it is a link to, was not restored", entry.hardlink));
  }
  // One call's descriptor does not outlive the next: a copy for the time in between.
  const NameInDirectory from = TRY(handles_.get().find(entry.hardlink, false));
  UniqueFd directory(fcntl(from.directory, F_DUPFD_CLOEXEC, 0));
  if (directory.get() < 0) return Error::from_errno(errno, "keeping a directory open");
  const NameInDirectory to = TRY(handles_.get().find(entry.path, true));
  TRY(make_place(to));
  const int made = handles_.get().with_rights(
      [&] { return linkat(directory.get(), from.name.c_str(), to.directory, to.name.c_str(), 0); });
  if (made != 0) return Error::from_errno(errno, fmt::format("linking to '{}'", entry.hardlink));
  return {};
}

Result<void> DirectoryTarget::take(Part& part) {
  for (const CopyLoss& loss : static_cast<DirectoryPart&>(part).losses) lost_(loss);
  for (Step& step : static_cast<DirectoryPart&>(part).steps) {
    switch (step.kind) {
      case Step::Kind::directory:
        complete_directories(step.entry.path);
        open_directories_.push_back(std::move(step.entry));
        break;
      case Step::Kind::link: {
        auto linked = link(step.entry);
        if (!linked) lost_({CopyLoss::Kind::entry, step.entry.path, 0, 0, std::move(linked).error()});
        break;
      }
      case Step::Kind::large_begins:
        // A file all of whose contents are lost or holes has no piece.
        if (step.entry.sparse && step.entry.data.empty())
          complete(step.entry);
        else
          large_ = std::move(step.entry);
        break;
      case Step::Kind::large_ends:
        if (large_) complete(*std::exchange(large_, std::nullopt));
        break;
    }
  }
  return {};
}

Result<void> DirectoryTarget::finish() {
  while (!open_directories_.empty()) {
    complete(open_directories_.back());
    open_directories_.pop_back();
  }
  return {};
}

// The attributes of a directory are set when nothing will be made in it any more: they may forbid it, and its
// times would change.
void DirectoryTarget::complete_directories(std::string_view next_path) {
  while (!open_directories_.empty() && !is_below(next_path, open_directories_.back().path)) {
    complete(open_directories_.back());
    open_directories_.pop_back();
  }
}

void DirectoryTarget::complete(const CopiedEntry& entry) {
  auto at = handles_.get().find(entry.path, false);
  if (at)
    set_attributes(*at, entry);
  else
    lost_({CopyLoss::Kind::attributes, entry.path, 0, 0, std::move(at).error()});
}

void DirectoryTarget::set_xattrs(const char* path, const CopiedEntry& entry, bool acls) {
  for (const auto& [name, value] : entry.xattrs)
    if (is_acl(name) == acls && setxattr(path, name.c_str(), value.data(), value.size(), 0) != 0)
      xattrs_.fetch_add(1, std::memory_order_relaxed);
}

// What is made in a directory gets an access list from its default one, and on btrfs its compression: the
// directory may be the user's, or be complete already when something is found that was in it.
void DirectoryTarget::remove_inherited(const char* path, const CopiedEntry& entry) {
  auto remove = [&](const char* name) {
    auto is_this = [&](const auto& xattr) { return xattr.first == name; };
    if (std::any_of(entry.xattrs.begin(), entry.xattrs.end(), is_this)) return;
    if (removexattr(path, name) != 0 && errno != ENODATA && errno != EOPNOTSUPP)
      xattrs_.fetch_add(1, std::memory_order_relaxed);
  };
  const Attributes& attributes = entry.attributes;
  if (!attributes.is_symlink()) remove("system.posix_acl_access");
  if (attributes.is_directory()) remove("system.posix_acl_default");
  if (attributes.is_regular() || attributes.is_directory()) remove("btrfs.compression");
}

// Rights come after what takes them away or needs them: owners clear bits and capabilities, attributes of the
// user's name space need write permission.
void DirectoryTarget::set_attributes(const NameInDirectory& at, const CopiedEntry& entry) {
  const Attributes& attributes = entry.attributes;
  UniqueFd object(openat(at.directory, at.name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  const ProcPath path(object.get());
  auto count = [](std::atomic<uint64_t>& counter, int result) {
    if (result != 0) counter.fetch_add(1, std::memory_order_relaxed);
    return result == 0;
  };
  const bool owned = options_.owners && count(owners_, chown(path.c_str(), attributes.uid, attributes.gid));
  if (options_.xattrs) {
    remove_inherited(path.c_str(), entry);
    set_xattrs(path.c_str(), entry, false);
  }
  // Rights that come from the owner are not given to another.
  const mode_t mode = attributes.mode & (owned ? 07777 : 01777);
  if (options_.modes_and_times && !attributes.is_symlink()) count(modes_, chmod(path.c_str(), mode));
  if (options_.xattrs) set_xattrs(path.c_str(), entry, true);
  const timespec times[2] = {possible(attributes.atime), possible(attributes.mtime)};
  if (options_.modes_and_times) count(times_, utimensat(AT_FDCWD, path.c_str(), times, 0));
}

}  // namespace karst::btrfs

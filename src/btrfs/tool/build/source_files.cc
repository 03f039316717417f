#include "btrfs/tool/build/source_files.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <xxhash.h>

#include <cerrno>
#include <climits>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/paths.h"

namespace karst::btrfs::build {
namespace {

int open_piece(int directory, const char* path, int flags) {
  open_how how{};
  how.flags = static_cast<uint64_t>(flags | O_NOFOLLOW | O_CLOEXEC);
  how.resolve = RESOLVE_NO_SYMLINKS;
  const long fd = ::syscall(SYS_openat2, directory, path, &how, sizeof how);
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(fd);
  // Kernels before 5.6 and sandboxes that do not know the call.
  return ::openat(directory, path, flags | O_NOFOLLOW | O_CLOEXEC);
}

const ErrorKind& kind_of_errno(int errno_value) {
  switch (errno_value) {
    case ENOENT:
    case ENOTDIR:
    case ESTALE:
    case ENXIO: return err::source_vanished;
    case ELOOP: return err::source_changed;  // a symlink where none was
    case EACCES:
    case EPERM: return err::source_unreadable;
    default: return err::source;
  }
}
}  // namespace

int open_below(int root, std::string_view path, int flags) {
  if (path.empty()) return open_piece(root, ".", flags);
  UniqueFd piece;
  std::string text;
  while (path.size() >= PATH_MAX) {
    const size_t end = path.rfind('/', PATH_MAX - 1);
    if (end == path.npos || end == 0) {
      errno = ENAMETOOLONG;
      return -1;
    }
    text = path.substr(0, end);
    piece.reset(open_piece(piece ? piece.get() : root, text.c_str(), O_PATH | O_DIRECTORY));
    if (!piece) return -1;
    path.remove_prefix(end + 1);
  }
  text = path;
  return open_piece(piece ? piece.get() : root, text.c_str(), flags);
}

uint64_t change_token(const struct statx& status) {
  const uint64_t facts[] = {status.stx_ino,
                            status.stx_size,
                            static_cast<uint64_t>(status.stx_mtime.tv_sec),
                            static_cast<uint64_t>(status.stx_ctime.tv_sec),
                            uint64_t{status.stx_mtime.tv_nsec} << 32 | status.stx_ctime.tv_nsec,
                            status.stx_mode & mode::type_mask};
  return XXH3_64bits(facts, sizeof facts);
}

int scan_status(int directory, const char* name, struct statx& status) {
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
  return ::statx(directory, name, flags, STATX_BASIC_STATS | STATX_BTIME, &status) == 0 ? 0 : errno;
}

uint32_t SourceFiles::add(std::string location, UniqueFd root) {
  roots_.push_back({std::move(location), std::move(root)});
  return static_cast<uint32_t>(roots_.size() - 1);
}

Error source_error(int errno_value, std::string_view operation, std::string_view location,
                   std::string_view path) {
  const Error why = Error::from_errno(errno_value, std::string(operation));
  return Error::make(kind_of_errno(errno_value), "{}: {}", shown_path(join_paths(location, path)),
                     why.what());
}

Error SourceReader::error_of(int errno_value, const Origin& origin, const char* operation) const {
  return source_error(errno_value, operation, files_.location(origin.source), origin.path);
}

Result<int> SourceReader::directory_of(const Origin& origin) {
  const std::string_view path = parent_path(origin.path);
  if (path.empty()) return files_.root(origin.source);
  if (!directory_ || source_ != origin.source || directory_path_ != path) {
    directory_.reset(open_below(files_.root(origin.source), path, O_PATH | O_DIRECTORY));
    if (!directory_) return error_of(errno, origin, "opening its directory");
    source_ = origin.source;
    directory_path_ = path;
  }
  return directory_.get();
}

Result<UniqueFd> SourceReader::open(const Origin& origin) {
  const int directory = TRY(directory_of(origin));
  const std::string name(base_name(origin.path));
  // Should it have become a pipe meanwhile, opening it must not wait for a writer.
  UniqueFd fd(::openat(directory, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return error_of(errno, origin, "opening");
  TRY(verify_unchanged(fd.get(), origin));
  return fd;
}

Error SourceReader::changed(const Origin& origin, const char* how) const {
  return Error::make(err::source_changed, "{}: {}",
                     shown_path(join_paths(files_.location(origin.source), origin.path)), how);
}

Result<void> SourceReader::read(int fd, const Origin& origin, uint64_t offset, MutableBytes into) const {
  while (!into.empty()) {
    const ssize_t got = ::pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return error_of(errno, origin, "reading").at("offset", offset);
    if (got == 0) return changed(origin, "became shorter").at("offset", offset);
    offset += static_cast<uint64_t>(got);
    into = into.subspan(static_cast<size_t>(got));
  }
  return {};
}

Result<void> SourceReader::verify_unchanged(int fd, const Origin& origin) const {
  struct statx status;
  if (int why = scan_status(fd, "", status)) return error_of(why, origin, "reading its attributes");
  if (change_token(status) == origin.change_token) return {};
  return changed(origin, "changed since it was scanned");
}

Result<void> SourceReader::for_each_xattr(const Origin& origin, int fd,
                                          FunctionRef<Result<void>(std::string_view, Bytes)> visit) {
  // The calls that do not follow a last symlink take no directory; /proc lends the descriptor a path.
  std::string path;
  if (fd < 0) {
    path = fmt::format("/proc/self/fd/{}/{}", TRY(directory_of(origin)), base_name(origin.path));
  }
  auto list = [&](char* out, size_t size) {
    return fd >= 0 ? ::flistxattr(fd, out, size) : ::llistxattr(path.c_str(), out, size);
  };
  auto get = [&](const char* name, void* out, size_t size) {
    return fd >= 0 ? ::fgetxattr(fd, name, out, size) : ::lgetxattr(path.c_str(), name, out, size);
  };
  // Lists and values have at most 64 KiB (XATTR_LIST_MAX and XATTR_SIZE_MAX of Linux
  // include/uapi/linux/limits.h).
  names_.resize(64 << 10);
  const ssize_t listed = list(names_.data(), names_.size());
  if (listed < 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) return {};
  if (listed < 0) return error_of(errno, origin, "listing its extended attributes");
  if (listed == 0) return {};
  value_.resize(64 << 10);
  for (std::string_view left(names_.data(), static_cast<size_t>(listed)); !left.empty();) {
    const std::string_view name = left.substr(0, left.find('\0'));
    left.remove_prefix(std::min(left.size(), name.size() + 1));
    if (!is_storable_xattr(name)) continue;
    const ssize_t size = get(name.data(), value_.data(), value_.size());
    if (size < 0 && errno == ENODATA) continue;  // gone since the list
    if (size < 0) return error_of(errno, origin, "reading an extended attribute");
    TRY(visit(name, Bytes(value_).first(static_cast<size_t>(size))));
  }
  return {};
}

}  // namespace karst::btrfs::build

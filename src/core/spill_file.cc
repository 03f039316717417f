#include "core/spill_file.h"

#include <fcntl.h>
#include <stdlib.h>

#include <cerrno>

namespace karst {

Result<SpillFile> SpillFile::create(const std::string& directory, uint64_t limit) {
  int fd = ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    // File systems and kernels without O_TMPFILE.
    std::string name = directory + "/karst-XXXXXX";
    fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd >= 0) ::unlink(name.c_str());
  }
  if (fd < 0) return Error::from_errno(errno, fmt::format("making a temporary file in {}", directory));
  return SpillFile(UniqueFd(fd), limit);
}

Result<uint64_t> SpillFile::append(Bytes bytes) {
  if (bytes.size() > limit_ || size_ > limit_ - bytes.size())
    return Error::make(err::no_space, "temporary files would need more than {} bytes", limit_);
  const uint64_t start = size_;
  while (!bytes.empty()) {
    ssize_t written = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(size_));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Error::from_errno(errno, "writing a temporary file");
    size_ += static_cast<uint64_t>(written);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return start;
}

Result<void> SpillFile::read(uint64_t offset, MutableBytes out) const {
  while (!out.empty()) {
    ssize_t got = ::pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "reading a temporary file");
    if (got == 0) return Error(err::io, "a temporary file has fewer bytes than were written");
    offset += static_cast<uint64_t>(got);
    out = out.subspan(static_cast<size_t>(got));
  }
  return {};
}

Result<void> SpillFile::clear() {
  if (::ftruncate(fd_.get(), 0) != 0) return Error::from_errno(errno, "shortening a temporary file");
  size_ = 0;
  return {};
}

}  // namespace karst

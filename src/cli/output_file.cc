#include "cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>

namespace karst::cli {

Result<OutputFile> OutputFile::open(const std::string& name, bool force, const char* force_option) {
  if (name == "-") {
    if (isatty(STDOUT_FILENO))
      return Error(err::invalid, "not writing an archive to a terminal; use -o FILE");
    return OutputFile(STDOUT_FILENO, "");
  }
  struct stat st;
  bool exists = stat(name.c_str(), &st) == 0;
  if (exists && S_ISREG(st.st_mode) && !force)
    return Error(err::exists, fmt::format("{} exists; use {} to overwrite it", name, force_option));
  int fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return Error::from_errno(errno, name);
  return OutputFile(fd, exists && !S_ISREG(st.st_mode) ? "" : name);
}

OutputFile::OutputFile(OutputFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)) {}

OutputFile::~OutputFile() {
  if (fd_ > STDERR_FILENO) close(fd_);
  if (fd_ >= 0 && !name_.empty()) unlink(name_.c_str());
}

Result<void> OutputFile::write(std::span<iovec> vectors) {
  while (!vectors.empty()) {
    ssize_t written =
        writev(fd_, vectors.data(), static_cast<int>(std::min<size_t>(vectors.size(), IOV_MAX)));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Error::from_errno(errno, "writing the archive");
    auto rest = static_cast<size_t>(written);
    while (!vectors.empty() && rest >= vectors.front().iov_len) {
      rest -= vectors.front().iov_len;
      vectors = vectors.subspan(1);
    }
    if (rest == 0) continue;
    vectors.front().iov_base = static_cast<char*>(vectors.front().iov_base) + rest;
    vectors.front().iov_len -= rest;
  }
  return {};
}

Result<void> OutputFile::commit() {
  int fd = std::exchange(fd_, -1);
  if (fd > STDERR_FILENO && close(fd) != 0) return Error::from_errno(errno, "closing the archive");
  return {};
}

}  // namespace karst::cli

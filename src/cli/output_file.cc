#include "cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "cli/output.h"

namespace karst::cli {
namespace {

bool is_same(const struct stat& a, const struct stat& b) {
  if (S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode)) return a.st_rdev == b.st_rdev;
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

Result<void> check_is_no_input(const struct stat& output, const std::vector<std::string>& inputs) {
  for (const std::string& input : inputs) {
    struct stat st;
    if (::stat(input.c_str(), &st) == 0 && is_same(st, output))
      return Error::make(err::invalid, "not writing the output over what is read, {}", input);
  }
  return {};
}

mode_t new_file_mode() {
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

}  // namespace

OutputFile::OutputFile(OutputFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      options_(std::move(other.options_)),
      name_(std::exchange(other.name_, {})),
      temporary_(std::exchange(other.temporary_, {})) {}

OutputFile::~OutputFile() {
  if (fd_ > STDERR_FILENO) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

Result<OutputFile> OutputFile::create(const std::string& name, OutputOptions options) {
  struct stat st {};
  if (name == "-") {
    if (::isatty(STDOUT_FILENO))
      return Error(err::invalid, "not writing an archive to a terminal; use -o FILE");
    if (::fstat(STDOUT_FILENO, &st) == 0) TRY(check_is_no_input(st, options.inputs));
    return OutputFile(STDOUT_FILENO, std::move(options));
  }
  if (::stat(name.c_str(), &st) != 0) return create_beside(name, new_file_mode(), std::move(options));
  TRY(check_is_no_input(st, options.inputs));
  const bool kept = S_ISREG(st.st_mode) || S_ISBLK(st.st_mode);
  if (kept && !options.force)
    return Error::make(err::exists, "{} exists; use {} to overwrite it", name, options.force_option);
  return S_ISREG(st.st_mode) ? create_beside(name, st.st_mode & 07777, std::move(options))
                             : open_special(name, std::move(options));
}

Result<OutputFile> OutputFile::open_special(const std::string& name, OutputOptions options) {
  const int fd = ::open(name.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return Error::from_errno(errno, name);
  return OutputFile(fd, std::move(options));
}

// A temporary file in the directory of the name, after symbolic links.
Result<OutputFile> OutputFile::create_beside(const std::string& name, mode_t mode, OutputOptions options) {
  OutputFile output(-1, std::move(options));
  char resolved[PATH_MAX];
  output.name_ = ::realpath(name.c_str(), resolved) ? resolved : name;
  const size_t slash = output.name_.rfind('/');
  std::string temporary =
      (slash == std::string::npos ? "" : output.name_.substr(0, slash + 1)) + ".karst-XXXXXX";
  output.fd_ = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (output.fd_ < 0) return Error::from_errno(errno, name);
  output.temporary_ = std::move(temporary);
  if (::fchmod(output.fd_, mode) != 0) return Error::from_errno(errno, name);
  return output;
}

Result<void> OutputFile::write(std::span<iovec> buffers) {
  while (!buffers.empty()) {
    TRY(options_.cancel.check());
    ssize_t written =
        ::writev(fd_, buffers.data(), static_cast<int>(std::min<size_t>(buffers.size(), IOV_MAX)));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0)
      return fd_ == STDOUT_FILENO ? output_error(errno) : Error::from_errno(errno, "writing the output");
    auto rest = static_cast<size_t>(written);
    while (!buffers.empty() && rest >= buffers.front().iov_len) {
      rest -= buffers.front().iov_len;
      buffers = buffers.subspan(1);
    }
    if (rest == 0) continue;
    buffers.front().iov_base = static_cast<char*>(buffers.front().iov_base) + rest;
    buffers.front().iov_len -= rest;
  }
  return {};
}

Result<void> OutputFile::commit() {
  const int fd = std::exchange(fd_, -1);
  if (fd > STDERR_FILENO && ::close(fd) != 0) return Error::from_errno(errno, "closing the output");
  if (temporary_.empty()) return {};
  int failed = ::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, name_.c_str(),
                           options_.force ? 0 : RENAME_NOREPLACE);
  if (failed && errno == EINVAL && !options_.force)  // a file system without that flag
    failed = ::rename(temporary_.c_str(), name_.c_str());
  if (failed) return Error::from_errno(errno, name_);
  temporary_.clear();
  return {};
}

}  // namespace karst::cli

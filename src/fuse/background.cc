#include "fuse/background.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace karst::fuse {

Background::~Background() {
  if (pipe_ >= 0) ::close(pipe_);
}

Result<std::optional<int>> Background::fork() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Error::from_errno(errno, "pipe");
  pid_t child = ::fork();
  if (child < 0) {
    Error error = Error::from_errno(errno, "fork");
    ::close(ends[0]);
    ::close(ends[1]);
    return error;
  }
  if (child == 0) {
    ::close(ends[0]);
    pipe_ = ends[1];
    return std::optional<int>();
  }
  ::close(ends[1]);
  char byte;
  ssize_t got;
  while ((got = ::read(ends[0], &byte, 1)) < 0 && errno == EINTR) {
  }
  ::close(ends[0]);
  if (got == 1) return std::optional<int>(0);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  // A child that ended well without being ready has not done what was asked.
  if (WIFSIGNALED(status)) return std::optional<int>(128 + WTERMSIG(status));
  return std::optional<int>(WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1);
}

Result<void> Background::ready() {
  if (pipe_ < 0) return {};
  ::setsid();
  if (::chdir("/") != 0) return Error::from_errno(errno, "/");
  int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return Error::from_errno(errno, "/dev/null");
  for (int fd : {0, 1, 2})
    if (::dup2(null, fd) < 0) return Error::from_errno(errno, "dup2");
  if (null > 2) ::close(null);
  const char byte = 1;
  if (::write(pipe_, &byte, 1) != 1) return Error::from_errno(errno, "pipe");
  ::close(pipe_);
  pipe_ = -1;
  return {};
}

}  // namespace karst::fuse

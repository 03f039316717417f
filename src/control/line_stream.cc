#include "control/line_stream.h"

#include <sys/socket.h>

#include <cerrno>

namespace karst::control {

Result<std::optional<std::string>> LineStream::read() {
  size_t looked_at = 0;
  for (;;) {
    if (const size_t end = read_.find('\n', looked_at); end != std::string::npos) {
      std::string line = read_.substr(0, end);
      read_.erase(0, end + 1);
      return std::optional(std::move(line));
    }
    looked_at = read_.size();
    if (read_.size() > line_max) return Error(err::limit, "a line of the control socket is too long");
    char piece[16 << 10];
    const ssize_t got = ::recv(socket_.get(), piece, sizeof piece, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno(errno, "reading from the control socket");
    if (got == 0) return std::optional<std::string>();
    read_.append(piece, static_cast<size_t>(got));
  }
}

Result<void> LineStream::write(std::string_view line) {
  const std::string whole = std::string(line) + '\n';
  for (size_t done = 0; done < whole.size();) {
    const ssize_t sent = ::send(socket_.get(), whole.data() + done, whole.size() - done, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return Error::from_errno(errno, "writing to the control socket");
    done += static_cast<size_t>(sent);
  }
  return {};
}

}  // namespace karst::control

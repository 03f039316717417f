// Lines over a connected socket. Belongs to one thread.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "core/unique_fd.h"

namespace karst::control {

class LineStream {
 public:
  // Longer lines are refused: err::limit.
  static constexpr size_t line_max = 64 << 20;

  explicit LineStream(UniqueFd socket) : socket_(std::move(socket)) {}
  // Without its end; nothing when the other side has ended.
  Result<std::optional<std::string>> read();
  Result<void> write(std::string_view line);
  int fd() const { return socket_.get(); }

 private:
  UniqueFd socket_;
  std::string read_;  // what came after the last line
};

}  // namespace karst::control

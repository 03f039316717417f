// Text that is long: formatted into a buffer, given on in large pieces.
#pragma once
#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "core/function_ref.h"
#include "core/result.h"

namespace karst::thin {

class TextOut {
 public:
  using Write = FunctionRef<Result<void>(std::string_view)>;
  explicit TextOut(Write write) : write_(write) {}

  template <typename... Args>
  Result<void> print(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(fmt::appender(buffer_), format, std::forward<Args>(args)...);
    return buffer_.size() < piece ? Result<void>() : flush();
  }
  Result<void> flush() {
    if (buffer_.size() == 0) return {};
    TRY(write_({buffer_.data(), buffer_.size()}));
    buffer_.clear();
    return {};
  }

 private:
  static constexpr size_t piece = 64 << 10;
  Write write_;
  fmt::memory_buffer buffer_;
};

}  // namespace karst::thin

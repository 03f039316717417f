// The name under which system calls that take no descriptor of the kind O_PATH reach its object itself, also
// where that is a symbolic link. Needs /proc.
#pragma once
#include <fmt/format.h>

namespace karst::btrfs {

class ProcPath {
 public:
  explicit ProcPath(int fd) { fmt::format_to_n(text_, sizeof text_ - 1, "/proc/self/fd/{}", fd); }
  const char* c_str() const { return text_; }

 private:
  char text_[32] = {};
};

}  // namespace karst::btrfs

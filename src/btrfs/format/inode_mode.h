// An inode's mode as it is on disk: Linux's numbers, whatever this system's are.
#pragma once
#include <cstdint>

namespace karst::btrfs::mode {

constexpr uint32_t type_mask = 0170000;
constexpr uint32_t fifo = 0010000;
constexpr uint32_t character = 0020000;
constexpr uint32_t directory = 0040000;
constexpr uint32_t block = 0060000;
constexpr uint32_t regular = 0100000;
constexpr uint32_t symlink = 0120000;
constexpr uint32_t socket = 0140000;

constexpr bool is_valid_type(uint32_t mode) {
  switch (mode & type_mask) {
    case fifo:
    case character:
    case directory:
    case block:
    case regular:
    case symlink:
    case socket: return true;
    default: return false;
  }
}

}  // namespace karst::btrfs::mode

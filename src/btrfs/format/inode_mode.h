// An inode's mode as it is on disk: Linux's numbers, whatever this system's are.
#pragma once
#include "btrfs/format/inode.h"

namespace karst::btrfs::mode {

constexpr uint32_t type_mask = 0170000;
constexpr uint32_t fifo = 0010000;
constexpr uint32_t character = 0020000;
constexpr uint32_t directory = 0040000;
constexpr uint32_t block = 0060000;
constexpr uint32_t regular = 0100000;
constexpr uint32_t symlink = 0120000;
constexpr uint32_t socket = 0140000;

}  // namespace karst::btrfs::mode

namespace karst::btrfs {

// What directory entries say of an inode with this mode; unknown: no inode has it.
constexpr FileType file_type_of(uint32_t inode_mode) {
  switch (inode_mode & mode::type_mask) {
    case mode::regular: return FileType::regular;
    case mode::directory: return FileType::directory;
    case mode::character: return FileType::character;
    case mode::block: return FileType::block;
    case mode::fifo: return FileType::fifo;
    case mode::socket: return FileType::socket;
    case mode::symlink: return FileType::symlink;
    default: return FileType::unknown;
  }
}

}  // namespace karst::btrfs

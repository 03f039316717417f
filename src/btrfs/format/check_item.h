// What the rules for items have in common: state carried from item to item of a leaf, and how they report.
#pragma once
#include "btrfs/format/check.h"
#include "btrfs/format/item_view.h"

namespace karst::btrfs {

// What the rules remember of the items before this one in the leaf.
struct LeafCheck {
  uint64_t extent_end = 0;  // end of the last extent, in the extent tree
};

// The error for an item: kind, words, expected, found, slot, key, and the item in words.
Error item_error(const ErrorKind& kind, const ItemView& item, std::string_view what, std::string expected,
                 std::string found);

template <typename E, typename F>
[[gnu::cold, gnu::noinline]] Error invalid_item(const ErrorKind& kind, const ItemView& item,
                                                std::string_view what, const E& expected, const F& found) {
  return item_error(kind, item, what, fmt::format("{}", expected), fmt::format("{}", found));
}

// The item has exactly this size.
inline Result<void> check_item_size(const ErrorKind& kind, const ItemView& item, uint64_t size) {
  if (item.data.size() != size) [[unlikely]]
    return invalid_item(kind, item, "item of the wrong size", size, item.data.size());
  return {};
}

// A transaction that the file system has not reached; a log tree is one ahead of the superblock.
inline Result<void> check_generation(const ErrorKind& kind, const ItemView& item, const char* what,
                                     uint64_t generation) {
  if (generation > item.geometry.generation + 1) [[unlikely]]
    return invalid_item(kind, item, what, fmt::format("at most {}", item.geometry.generation + 1),
                        generation);
  return {};
}

inline Result<void> check_aligned(const ErrorKind& kind, const ItemView& item, const char* what,
                                  uint64_t number) {
  if (!item.aligned(number)) [[unlikely]]
    return invalid_item(kind, item, what, fmt::format("a multiple of {}", item.geometry.sectorsize), number);
  return {};
}

// [start, start + length) does not wrap around, and has a length.
inline Result<void> check_range(const ErrorKind& kind, const ItemView& item, const char* what, uint64_t start,
                                uint64_t length) {
  if (length == 0 || length > ~start) [[unlikely]]
    return invalid_item(kind, item, what, fmt::format("1 to {}", ~start), length);
  return {};
}

// Items that belong to an inode follow that inode's own item; in a subvolume's leaf the item before has the
// same inode number (Linux check_prev_ino).
Result<void> check_follows_inode(const ItemView& item);

// A name that a file can have: 1 to 255 bytes, no '/', no NUL, not "." or "..".
Result<void> check_name(const ItemView& item, std::string_view name);

}  // namespace karst::btrfs

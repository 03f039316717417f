// One inode of a subvolume as everything in the tree describes it, and what is wrong with it.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "btrfs/tool/check/inode_facts.h"

namespace karst::btrfs::check {

// Bits and words as btrfs check has them. Source: btrfs-progs check/mode-original.h.
namespace inode_error {
constexpr uint32_t no_inode_item = 1u << 0;
constexpr uint32_t no_orphan_item = 1u << 1;
constexpr uint32_t dup_inode_item = 1u << 2;
constexpr uint32_t odd_dir_item = 1u << 4;
constexpr uint32_t odd_file_extent = 1u << 5;
constexpr uint32_t bad_file_extent = 1u << 6;
constexpr uint32_t extent_overlap = 1u << 7;
constexpr uint32_t extent_discount = 1u << 8;
constexpr uint32_t dir_isize = 1u << 9;
constexpr uint32_t nbytes = 1u << 10;
constexpr uint32_t link_count = 1u << 13;
constexpr uint32_t extent_too_large = 1u << 15;
constexpr uint32_t odd_flags = 1u << 16;
constexpr uint32_t inline_ram_bytes = 1u << 17;
constexpr uint32_t invalid_nlink = 1u << 21;
constexpr uint32_t deprecated_free_ino = 1u << 23;
constexpr uint32_t dup_filename = 1u << 24;
}  // namespace inode_error

// One name of an inode in one directory.
struct NameKey {
  uint64_t directory;
  std::string name;
};
struct NameOrder {
  using is_transparent = void;
  template <typename A, typename B>
  bool operator()(const A& a, const B& b) const {
    return a.directory != b.directory ? a.directory < b.directory : std::string_view(a.name) < b.name;
  }
};
struct NameRecord {
  uint64_t index = 0;
  uint8_t file_type = 0;
  bool item = false, entry = false, reference = false;  // DIR_ITEM, DIR_INDEX, INODE_REF
  uint32_t errors = 0;
};

class InodeRecord {
 public:
  explicit InodeRecord(uint64_t inode) : inode_(inode) {}

  void add_item(const InodeItem& item);
  void add_orphan() { orphan_ = true; }
  void add_name_item(uint64_t directory, std::string_view name, uint8_t type);
  void add_name_entry(uint64_t directory, uint64_t index, std::string_view name, uint8_t type);
  void add_reference(const NameReference& reference);
  // The inode as a directory: the names in one of its items; of one that is deleted none count.
  void add_directory_names(uint64_t length);
  void add_twin_names() { errors_ |= inode_error::dup_filename; }
  void add_extent(uint64_t offset, Bytes extent, const FileRules& rules);

  // Bytes that a name takes, about.
  static size_t bytes_of_name(std::string_view name) {
    return sizeof(NameKey) + sizeof(NameRecord) + 48 + name.size();
  }

  // What is wrong, as the lines that btrfs check prints; empty if nothing is.
  std::string verdict(uint64_t root, const FileRules& rules);
  bool has_item() const { return item_; }

 private:
  NameRecord& name(uint64_t directory, std::string_view text);
  void judge(const FileRules& rules);
  void judge_root_directory();
  std::string error_text(uint64_t root) const;

  const uint64_t inode_;
  bool item_ = false, orphan_ = false, directory_items_ = false, extents_ = false;
  uint32_t nlink_ = 0, mode_ = 0;
  uint64_t size_ = 0, nbytes_ = 0, flags_ = 0;
  uint64_t found_size_ = 0;
  uint32_t found_links_ = 0;
  uint64_t extent_end_ = 0;
  uint64_t first_gap_ = ~0ull;  // where the first gap between extents begins
  uint64_t gap_end_ = 0;
  uint32_t errors_ = 0;
  std::map<NameKey, NameRecord, NameOrder> names_;  // an image may give an inode any number
};

}  // namespace karst::btrfs::check

#include "btrfs/tool/check/inode_record.h"

#include <fmt/format.h>

#include "btrfs/format/inode_mode.h"

namespace karst::btrfs::check {
namespace {

namespace name_error {
constexpr uint32_t no_dir_item = 1u << 0;
constexpr uint32_t no_dir_index = 1u << 1;
constexpr uint32_t no_inode_ref = 1u << 2;
constexpr uint32_t dup_dir_item = 1u << 3;
constexpr uint32_t dup_dir_index = 1u << 4;
constexpr uint32_t dup_inode_ref = 1u << 5;
constexpr uint32_t index_mismatch = 1u << 6;
constexpr uint32_t filetype_mismatch = 1u << 7;
}  // namespace name_error

constexpr size_t text_max = 64 << 10;  // an image may give an inode any number of bad names

struct Word {
  uint32_t bit;
  const char* text;
};
constexpr Word inode_words[] = {
    {inode_error::deprecated_free_ino, "deprecated free inode cache"},
    {inode_error::no_inode_item, "no inode item"},
    {inode_error::no_orphan_item, "no orphan item"},
    {inode_error::dup_inode_item, "dup inode item"},
    {inode_error::odd_dir_item, "odd dir item"},
    {inode_error::odd_file_extent, "odd file extent"},
    {inode_error::bad_file_extent, "bad file extent"},
    {inode_error::extent_overlap, "file extent overlap"},
    {inode_error::extent_too_large, "inline file extent too large"},
    {inode_error::extent_discount, "file extent discount"},
    {inode_error::dir_isize, "dir isize wrong"},
    {inode_error::nbytes, "nbytes wrong"},
    {inode_error::link_count, "link count wrong"},
    {inode_error::odd_flags, "odd inode flags"},
    {inode_error::inline_ram_bytes, "invalid inline ram bytes"},
    {inode_error::invalid_nlink, "directory has invalid nlink"},
    {inode_error::dup_filename, "dup filename"},
};
constexpr Word name_words[] = {
    {name_error::no_dir_item, "no dir item"},       {name_error::no_dir_index, "no dir index"},
    {name_error::no_inode_ref, "no inode ref"},     {name_error::dup_dir_item, "dup dir item"},
    {name_error::dup_dir_index, "dup dir index"},   {name_error::dup_inode_ref, "dup inode ref"},
    {name_error::index_mismatch, "index mismatch"}, {name_error::filetype_mismatch, "filetype mismatch"},
};

template <size_t n>
std::string words_of(const Word (&words)[n], uint32_t errors) {
  std::string text;
  for (const Word& word : words)
    if (errors & word.bit) text += fmt::format(", {}", word.text);
  return text;
}

}  // namespace

void InodeRecord::add_item(const InodeItem& item) {
  if (item_) errors_ |= inode_error::dup_inode_item;
  item_ = true;
  nlink_ = item.nlink;
  mode_ = item.mode;
  size_ = item.size;
  nbytes_ = item.nbytes;
  flags_ = item.flags;
}

NameRecord& InodeRecord::name(uint64_t directory, std::string_view text) {
  struct View {
    uint64_t directory;
    std::string_view name;
  };
  auto found = names_.find(View{directory, text});
  if (found == names_.end())
    found = names_.emplace(NameKey{directory, std::string(text)}, NameRecord()).first;
  return found->second;
}

void InodeRecord::add_name_item(uint64_t directory, std::string_view text, uint8_t type) {
  NameRecord& record = name(directory, text);
  ++found_links_;
  if (record.item) record.errors |= name_error::dup_dir_item;
  if (record.entry && record.file_type != type) record.errors |= name_error::filetype_mismatch;
  record.item = true;
  record.file_type = type;
}

void InodeRecord::add_name_entry(uint64_t directory, uint64_t index, std::string_view text, uint8_t type) {
  NameRecord& record = name(directory, text);
  if (record.entry) record.errors |= name_error::dup_dir_index;
  if (record.reference && record.index != index) record.errors |= name_error::index_mismatch;
  if (record.item && record.file_type != type) record.errors |= name_error::filetype_mismatch;
  record.entry = true;
  record.index = index;
  record.file_type = type;
}

void InodeRecord::add_reference(const NameReference& reference) {
  NameRecord& record = name(reference.directory, reference.name);
  if (record.reference) record.errors |= name_error::dup_inode_ref;
  if (record.entry && record.index != reference.index)
    record.errors |= name_error::index_mismatch;
  else
    record.index = reference.index;
  record.reference = true;
}

void InodeRecord::add_directory_names(uint64_t length) {
  directory_items_ = true;
  found_size_ += length;
}

void InodeRecord::add_extent(uint64_t offset, Bytes extent, const FileRules& rules) {
  extents_ = true;
  ExtentSpan span = span_of(offset, extent, rules.sectorsize);
  if (span.start < extent_end_) errors_ |= inode_error::extent_overlap;
  if (span.start > extent_end_ && first_gap_ == ~0ull) {
    first_gap_ = extent_end_;
    gap_end_ = span.start;
  }
  extent_end_ = span.end;
  found_size_ += span.bytes;
  InodeContext context{.inode = inode_, .known = item_, .flags = flags_, .mode = mode_};
  switch (fault_of(extent, context, rules)) {
    case ExtentFault::bad: errors_ |= inode_error::bad_file_extent; break;
    case ExtentFault::too_large: errors_ |= inode_error::extent_too_large; break;
    case ExtentFault::ram_bytes: errors_ |= inode_error::inline_ram_bytes; break;
    case ExtentFault::none: break;
  }
}

void InodeRecord::judge(const FileRules& rules) {
  uint32_t type = mode_ & mode::type_mask;
  if (inode_ == id::free_ino) errors_ |= inode_error::deprecated_free_ino;
  if (!item_) {
    errors_ |= inode_error::no_inode_item;
  } else if (type == mode::directory) {
    if (found_size_ != size_) errors_ |= inode_error::dir_isize;
    if (extents_) errors_ |= inode_error::odd_file_extent;
    if (nlink_ >= 2) errors_ |= inode_error::invalid_nlink;
  } else if (type == mode::regular || type == mode::symlink) {
    if (directory_items_) errors_ |= inode_error::odd_dir_item;
    if (nlink_ > 0 && found_size_ != nbytes_) errors_ |= inode_error::nbytes;
    if (nlink_ > 0 && rules.holes && size_ > 0 && (extent_end_ < size_ || first_gap_ < size_))
      errors_ |= inode_error::extent_discount;
  }
  if (type == mode::symlink && (flags_ & (inode_flag::immutable | inode_flag::append)))
    errors_ |= inode_error::odd_flags;
  if (item_ && nlink_ == 0 && !orphan_) errors_ |= inode_error::no_orphan_item;
  if (found_links_ != nlink_) errors_ |= inode_error::link_count;
  for (auto& [key, record] : names_) {
    if (item_ && record.item && record.entry && record.file_type != static_cast<uint8_t>(file_type_of(mode_)))
      record.errors |= name_error::filetype_mismatch;
    if (!record.item) record.errors |= name_error::no_dir_item;
    if (!record.entry) record.errors |= name_error::no_dir_index;
    if (!record.reference) record.errors |= name_error::no_inode_ref;
  }
}

// It has one link: its reference to itself, which no directory has an entry for.
void InodeRecord::judge_root_directory() {
  bool self = false;
  if (names_.size() == 1) {
    const auto& [key, record] = *names_.begin();
    self = key.directory == inode_ && key.name == ".." && record.index == 0 && record.reference &&
           !record.item && !record.entry;
  }
  if (self) names_.clear();
  if (!item_) errors_ |= inode_error::no_inode_item;
  if (item_ && found_size_ != size_) errors_ |= inode_error::dir_isize;
  if (nlink_ != 1 || found_links_ != 0 || !self) errors_ |= inode_error::link_count;
}

std::string InodeRecord::error_text(uint64_t root) const {
  std::string text =
      fmt::format("root {} inode {} errors {:x}{}", root, inode_, errors_, words_of(inode_words, errors_));
  if (errors_ & inode_error::extent_discount) {
    bool gap = first_gap_ < size_;
    uint64_t start = gap ? first_gap_ : extent_end_;
    text += fmt::format("\nFound file extent holes:\n\tstart: {}, len: {}", start,
                        (gap ? gap_end_ : size_) - start);
  }
  for (const auto& [key, record] : names_) {
    if (record.errors == 0) continue;
    if (text.size() > text_max) return text + "\n\t...";
    text += fmt::format("\n\tunresolved ref dir {} index {} namelen {} name {} filetype {} errors {:x}{}",
                        key.directory, record.index, key.name.size(), key.name, record.file_type,
                        record.errors, words_of(name_words, record.errors));
  }
  return text;
}

std::string InodeRecord::verdict(uint64_t root, const FileRules& rules) {
  bool is_directory = (mode_ & mode::type_mask) == mode::directory;
  if (inode_ == root_directory && item_ && !is_directory)
    return fmt::format("root {} inode {} has mode 0{:o}, expect a directory", root, inode_, mode_);
  if (inode_ == root_directory)
    judge_root_directory();
  else
    judge(rules);
  bool bad = errors_ != 0;
  for (const auto& [key, record] : names_) bad = bad || record.errors != 0;
  return bad ? error_text(root) : std::string();
}

}  // namespace karst::btrfs::check

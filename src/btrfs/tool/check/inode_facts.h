// Facts about files and directories, from one leaf of a subvolume at a time.
//
// A leaf's facts depend on nothing but the leaf (and on what the inode is whose items began in the leaf
// before, where that matters), so a leaf shared by many snapshots is looked at once and its sum counts in
// each of them.
#pragma once
#include "btrfs/format/inode.h"
#include "btrfs/format/superblock.h"
#include "btrfs/format/tree_block.h"
#include "btrfs/tool/check/facts.h"

namespace karst::btrfs::check {

// What is known of the inode that the items before belong to.
struct InodeContext {
  uint64_t inode = 0;
  bool known = false;  // its item was seen: flags and mode are valid
  uint64_t flags = 0;
  uint32_t mode = 0;
  uint64_t extent_end = 0;  // of its file extents so far
  bool nodatasum() const { return (flags & inode_flag::nodatasum) != 0; }
};

struct FileRules {
  const SketchKey& key;
  uint32_t sectorsize;
  uint32_t max_inline;  // bytes of data in an inline extent
  bool holes;           // holes are items: extents leave no gap
};
FileRules file_rules(const SketchKey& key, const Geometry& geometry);

// How far a file extent reaches, and what it takes of nbytes.
struct ExtentSpan {
  uint64_t start = 0, end = 0;
  uint64_t bytes = 0;
};
// `extent` has passed the item checks: FileExtentHead, or FileExtent if it is not inline.
ExtentSpan span_of(uint64_t file_offset, Bytes extent, uint32_t sectorsize);
// Whether a file extent contradicts itself, or its inode as far as that is known. As btrfs check's
// "bad file extent", "inline file extent too large", "invalid inline ram bytes".
enum class ExtentFault : uint8_t { none, bad, too_large, ram_bytes };
ExtentFault fault_of(Bytes extent, const InodeContext& inode, const FileRules& rules);

// The names in a DIR_ITEM or DIR_INDEX.
struct EntryView {
  const DirItem& item;
  std::string_view name;
  // A FileType. With the flag of encrypted names, which no Linux writes, it is none.
  uint8_t type() const { return item.type; }
};
template <typename F>
void for_each_entry(Bytes data, F&& visit) {
  while (const auto* entry = overlay<DirItem>(data)) {
    uint64_t length = sizeof(DirItem) + entry->name_len + entry->data_len;
    if (length > data.size()) return;
    visit(EntryView{*entry, as_text(data.subspan(sizeof(DirItem), entry->name_len))});
    data = data.subspan(length);
  }
}
// Whether two entries of one DIR_ITEM have the same name.
bool has_twin_names(Bytes data);

// One reference of an INODE_REF or INODE_EXTREF.
struct NameReference {
  uint64_t directory, index;
  std::string_view name;
};
template <typename F>
void for_each_reference(const Key& key, Bytes data, F&& visit) {
  bool extended = key.type == ItemType::inode_extref;
  uint64_t head = extended ? sizeof(InodeExtref) : sizeof(InodeRef);
  while (data.size() >= head) {
    const auto* simple = overlay<InodeRef>(data);
    const auto* extref = overlay<InodeExtref>(data);
    uint64_t length = extended ? extref->name_len.value() : simple->name_len.value();
    if (length > data.size() - head) return;
    visit(NameReference{extended ? extref->parent_objectid.value() : key.offset,
                        extended ? extref->index.value() : simple->index.value(),
                        as_text(data.subspan(head, length))});
    data = data.subspan(head + length);
  }
}

// The inode number of every subvolume's root directory.
constexpr uint64_t root_directory = id::first_free;
// What the sum of a whole subvolume is.
Sum expected_root_sum(const SketchKey& key);

// Whether an item type belongs into a subvolume's tree.
bool is_file_item(const Key& key);

// Sends a leaf's facts to the sink. `context` is what is known from the leaf before, and becomes what the
// next leaf needs; let it be default where the leaf before is not known.
void add_file_facts(const TreeBlock& leaf, const FileRules& rules, InodeContext& context, FactSink& sink);

}  // namespace karst::btrfs::check

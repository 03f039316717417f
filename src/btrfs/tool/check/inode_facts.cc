#include "btrfs/tool/check/inode_facts.h"

#include <algorithm>
#include <vector>

#include "btrfs/format/inode_mode.h"

namespace karst::btrfs::check {
namespace {

bool is_regular_or_link(uint32_t mode) {
  uint32_t type = mode & mode::type_mask;
  return type == mode::regular || type == mode::symlink;
}

uint64_t type_word(uint8_t type, ItemType location) {
  return uint64_t{type} << 8 | static_cast<uint64_t>(location);
}

// Walks the items of one leaf, inode by inode.
class LeafWalk {
 public:
  LeafWalk(const TreeBlock& leaf, const FileRules& rules, InodeContext& context, FactSink& sink)
      : leaf_(leaf), rules_(rules), context_(context), sink_(sink) {}

  void run() {
    for (uint32_t slot = 0; slot < leaf_.nritems(); ++slot) {
      Key key = leaf_.key(slot);
      if (key.objectid == id::free_space) continue;
      if (key.type == ItemType::orphan_item) {
        if (key.objectid == id::orphan) sink_.add({FactKind::inode_orphan, key.offset, {}}, minus(1));
        continue;
      }
      if (key.objectid != context_.inode) begin_inode(key.objectid);
      item(key, leaf_.item_data(slot));
    }
    end_holes(false);
  }

 private:
  void begin_inode(uint64_t inode) {
    end_holes(true);
    context_ = {.inode = inode};
    if (inode == id::free_ino) sink_.add({FactKind::inode_bad, inode, {}}, 1);
  }

  void item(const Key& key, Bytes data) {
    if (!context_.known && key.type != ItemType::inode_item)
      sink_.add({FactKind::inode_bad, key.objectid, {}}, 1);  // no inode item
    switch (key.type) {
      case ItemType::inode_item: inode_item(*overlay<InodeItem>(data)); break;
      case ItemType::inode_ref:
      case ItemType::inode_extref:
        for_each_reference(key, data, [&](const NameReference& ref) { reference(key.objectid, ref); });
        break;
      case ItemType::dir_item: directory_item(key, data); break;
      case ItemType::dir_index: directory_index(key, data); break;
      case ItemType::extent_data: file_extent(key, data); break;
      default: break;
    }
  }

  void inode_item(const InodeItem& item) {
    uint64_t inode = context_.inode;
    context_.known = true;
    context_.flags = item.flags;
    context_.mode = item.mode;
    uint32_t type = item.mode & mode::type_mask;
    if (type == mode::symlink && (item.flags & (inode_flag::immutable | inode_flag::append)))
      sink_.add({FactKind::inode_bad, inode, {}}, 1);
    if (type == mode::directory) {
      sink_.add({FactKind::directory_size, inode, {}}, item.size.value());
    } else if (is_regular_or_link(item.mode)) {
      sink_.add({FactKind::inode_bytes, inode, {}}, item.nbytes.value());
      own_holes_ = rules_.holes && item.nlink > 0;
      size_end_ = (item.size + rules_.sectorsize - 1) & ~uint64_t{rules_.sectorsize - 1};
    }
    if (inode == root_directory && type == mode::directory && item.nlink == 1) {
      sink_.add({FactKind::root_directory, inode, {1}}, 1);
      return;
    }
    sink_.add({FactKind::inode_name, inode, {static_cast<uint64_t>(file_type_of(item.mode))}},
              item.nlink.value());
    if (item.nlink == 0) sink_.add({FactKind::inode_orphan, inode, {}}, 1);
  }

  void reference(uint64_t inode, const NameReference& ref) {
    if (inode == root_directory && ref.directory == inode && ref.index == 0 && ref.name == "..") {
      sink_.add({FactKind::root_directory, inode, {2}}, 1);
      return;
    }
    sink_.add({FactKind::inode_ref, inode, {ref.directory, ref.index, rules_.key.hash_name(ref.name)}},
              minus(1));
  }

  void directory_item(const Key& key, Bytes data) {
    for_each_entry(data, [&](const EntryView& entry) {
      sink_.add({FactKind::directory_size, key.objectid, {}}, minus(entry.name.size()));
      Key location = entry.item.location.key();
      sink_.add({FactKind::directory_entry,
                 location.objectid,
                 {key.objectid, rules_.key.hash_name(entry.name), type_word(entry.type(), location.type)}},
                1);
      if (location.type != ItemType::root_item)
        sink_.add({FactKind::inode_name, location.objectid, {entry.type()}}, minus(1));
    });
    if (has_twin_names(data)) sink_.add({FactKind::inode_bad, key.objectid, {}}, 1);
  }

  void directory_index(const Key& key, Bytes data) {
    for_each_entry(data, [&](const EntryView& entry) {
      sink_.add({FactKind::directory_size, key.objectid, {}}, minus(entry.name.size()));
      Key location = entry.item.location.key();
      uint64_t name = rules_.key.hash_name(entry.name);
      sink_.add({FactKind::directory_entry,
                 location.objectid,
                 {key.objectid, name, type_word(entry.type(), location.type)}},
                minus(1));
      if (location.type != ItemType::root_item)
        sink_.add({FactKind::inode_ref, location.objectid, {key.objectid, key.offset, name}}, 1);
    });
  }

  void file_extent(const Key& key, Bytes data) {
    ExtentSpan span = span_of(key.offset, data, rules_.sectorsize);
    sink_.add({FactKind::inode_bytes, key.objectid, {}}, minus(span.bytes));
    if (fault_of(data, context_, rules_) != ExtentFault::none || span.start < context_.extent_end)
      sink_.add({FactKind::inode_bad, key.objectid, {}}, 1);
    if (rules_.holes) {
      if (!has_extents_) {
        first_start_ = span.start;
      } else if (span.start != last_end_) {
        sink_.add({FactKind::inode_hole, key.objectid, {last_end_}}, minus(1));
        sink_.add({FactKind::inode_hole, key.objectid, {span.start}}, 1);
        gap_ = true;
      }
      has_extents_ = true;
      last_end_ = span.end;
    }
    context_.extent_end = span.end;
  }

  // The holes of the inode whose items end here; `complete`: no more of them follow in the next leaf. What
  // lies behind the end of the file does not matter, but can be left out only where all is in this leaf.
  void end_holes(bool complete) {
    bool own = std::exchange(own_holes_, false), extents = std::exchange(has_extents_, false);
    bool gap = std::exchange(gap_, false);
    if (!rules_.holes) return;
    uint64_t inode = context_.inode;
    if (own && complete) {
      bool none_needed = size_end_ == 0;
      if (none_needed && !gap) return;
      if (extents && !gap && first_start_ == 0 && last_end_ >= size_end_) return;
    }
    if (extents) {
      sink_.add({FactKind::inode_hole, inode, {first_start_}}, 1);
      sink_.add({FactKind::inode_hole, inode, {last_end_}}, minus(1));
    }
    if (own && size_end_ > 0) {
      sink_.add({FactKind::inode_hole, inode, {0}}, minus(1));
      sink_.add({FactKind::inode_hole, inode, {size_end_}}, 1);
    }
  }

  const TreeBlock& leaf_;
  const FileRules& rules_;
  InodeContext& context_;
  FactSink& sink_;
  // Of the inode at hand, as far as this leaf has it.
  bool own_holes_ = false, has_extents_ = false, gap_ = false;
  uint64_t size_end_ = 0, first_start_ = 0, last_end_ = 0;
};

}  // namespace

FileRules file_rules(const SketchKey& key, const Geometry& geometry) {
  // Source: btrfs-progs, BTRFS_MAX_INLINE_DATA_SIZE.
  uint32_t leaf_room = geometry.nodesize - sizeof(Header) - sizeof(Item) - sizeof(FileExtentHead);
  return {key, geometry.sectorsize, std::min(geometry.sectorsize - 1, leaf_room),
          !geometry.has(incompat::no_holes)};
}

ExtentSpan span_of(uint64_t file_offset, Bytes extent, uint32_t sectorsize) {
  const auto& head = *overlay<FileExtentHead>(extent);
  if (head.type == static_cast<uint8_t>(FileExtentType::inline_data)) {
    uint64_t mask = sectorsize - 1;
    return {file_offset, file_offset + ((head.ram_bytes + mask) & ~mask), head.ram_bytes};
  }
  const auto& full = *overlay<FileExtent>(extent);
  return {file_offset, file_offset + full.num_bytes, full.disk_bytenr != 0 ? full.num_bytes.value() : 0};
}

ExtentFault fault_of(Bytes extent, const InodeContext& inode, const FileRules& rules) {
  const auto& head = *overlay<FileExtentHead>(extent);
  if (head.type == static_cast<uint8_t>(FileExtentType::inline_data)) {
    uint64_t stored = extent.size() - sizeof(FileExtentHead);
    if (head.ram_bytes == 0) return ExtentFault::bad;
    if (head.compression != 0)
      return stored > rules.max_inline || head.ram_bytes > rules.sectorsize ? ExtentFault::too_large
                                                                            : ExtentFault::none;
    if (head.ram_bytes > rules.max_inline) return ExtentFault::too_large;
    return stored != head.ram_bytes ? ExtentFault::ram_bytes : ExtentFault::none;
  }
  const auto& full = *overlay<FileExtent>(extent);
  if (full.num_bytes == 0 || full.num_bytes + full.offset > head.ram_bytes) return ExtentFault::bad;
  bool encoded = head.compression != 0 || head.encryption != 0 || head.other_encoding != 0;
  if (head.type == static_cast<uint8_t>(FileExtentType::prealloc) && encoded) return ExtentFault::bad;
  if (!inode.known) return ExtentFault::none;
  if (head.compression != 0 && inode.nodatasum()) return ExtentFault::bad;
  if ((inode.mode & mode::type_mask) == mode::symlink) return ExtentFault::too_large;
  return ExtentFault::none;
}

bool has_twin_names(Bytes data) {
  const auto* first = overlay<DirItem>(data);
  if (!first || sizeof(DirItem) + first->name_len + first->data_len >= data.size()) return false;
  std::vector<std::string_view> names;
  for_each_entry(data, [&](const EntryView& entry) { names.push_back(entry.name); });
  std::sort(names.begin(), names.end());
  return std::adjacent_find(names.begin(), names.end()) != names.end();
}

Sum expected_root_sum(const SketchKey& key) {
  Sum sum;
  for (uint64_t part : {1, 2}) sum.add(key.hash({FactKind::root_directory, root_directory, {part}}), 1);
  return sum;
}

bool is_file_item(const Key& key) {
  switch (key.type) {
    case ItemType::inode_item:
    case ItemType::inode_ref:
    case ItemType::inode_extref:
    case ItemType::xattr_item:
    case ItemType::verity_desc_item:
    case ItemType::verity_merkle_item:
    case ItemType::orphan_item:
    case ItemType::dir_item:
    case ItemType::dir_index:
    case ItemType::extent_data: return true;
    default: return key.objectid == id::free_space;
  }
}

void add_file_facts(const TreeBlock& leaf, const FileRules& rules, InodeContext& context, FactSink& sink) {
  LeafWalk(leaf, rules, context, sink).run();
}

}  // namespace karst::btrfs::check

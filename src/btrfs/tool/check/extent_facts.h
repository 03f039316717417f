// Facts about extents: what the extent tree says, and what refers to extents.
//
// How a block refers to what it points to is decided by its own extent item: with FULL_BACKREF by the block's
// address ("shared", "parent"), otherwise by the tree that owns it. Source: Linux fs/btrfs/extent-tree.c, the
// comment on back references.
#pragma once
#include "btrfs/format/inode.h"
#include "btrfs/format/tree_block.h"
#include "btrfs/tool/check/facts.h"

namespace karst::btrfs::check {

// An item of the extent tree: EXTENT_ITEM, METADATA_ITEM with its inline references, or a keyed reference. It
// has passed the item checks.
void add_extent_item(const Key& key, Bytes item, FactSink& sink);
// Level of the tree block that an extent item is of.
uint8_t tree_block_level(const Key& key, Bytes item);

// Who refers: a block, or nothing but the owning tree.
struct Referrer {
  uint64_t owner = 0;
  uint64_t parent = 0;  // not 0: by full back reference
};

void add_tree_pointer(uint64_t bytenr, uint8_t level, uint64_t generation, const Referrer& from,
                      FactSink& sink);
// A file extent that is not inline and not a hole.
void add_data_pointer(const Key& key, const FileExtent& extent, const Referrer& from, FactSink& sink);

}  // namespace karst::btrfs::check

// Items of the extent tree: an extent with the references to it.
//
// References stand inside the extent's item, in the order of their types and downwards by hash or address
// within one type, up to a size; the others become items of their own. Source of the order: Linux
// fs/btrfs/extent-tree.c, lookup_inline_extent_backref(); fs/btrfs/tree-checker.c, check_extent_item().
// Thread-safe: pure functions.
#pragma once
#include <string>
#include <vector>

#include "btrfs/format/extent.h"
#include "core/function_ref.h"
#include "core/result.h"

namespace karst::btrfs {

// A file's use of a data extent: `offset` is the file offset at which the extent itself would begin.
struct DataReference {
  uint64_t root = 0;
  uint64_t inode = 0;
  uint64_t offset = 0;
  uint32_t count = 1;
  friend bool operator==(const DataReference&, const DataReference&) = default;
};
// By which the items of an extent's references are ordered.
uint64_t hash_of(const DataReference& reference);

// A tree block and who refers to it.
struct TreeExtent {
  uint64_t bytenr = 0;
  uint8_t level = 0;
  Key first_key;  // used where items of tree blocks are not skinny
};

using ItemSink = FunctionRef<Result<void>(const Key& key, Bytes data)>;

struct DataExtent {
  uint64_t bytenr = 0, length = 0, generation = 0;
  uint64_t refs = 0;  // the sum of the references' counts
};
// Calls back for each reference to an extent, ascending by hash_of(), then root, inode and offset; no two are
// of the same use. Not all need be in memory.
using DataReferences = FunctionRef<Result<void>(FunctionRef<Result<void>(const DataReference&)> each)>;

// Gives the items of a data extent in key order. Those references that come first stand in the extent's item.
Result<void> data_extent_items(const DataExtent& extent, DataReferences references, uint32_t nodesize,
                               ItemSink sink);
// The items of a tree block that these trees refer to by their root's id. `roots` are reordered.
Result<void> tree_extent_items(const TreeExtent& extent, uint64_t generation, std::vector<uint64_t>& roots,
                               uint32_t nodesize, bool skinny, ItemSink sink);

}  // namespace karst::btrfs

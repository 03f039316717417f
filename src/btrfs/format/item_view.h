// One item of a leaf, as the functions of the item table see it.
#pragma once
#include "btrfs/format/superblock.h"
#include "btrfs/format/tree_block.h"

namespace karst::btrfs {

// Borrowed from the block. In a block that has not been checked, `data` is empty where the item's bytes are
// not inside the block.
struct ItemView {
  const TreeBlock& leaf;
  const Geometry& geometry;
  uint32_t slot = 0;
  Key key;
  Bytes data;

  // The item's struct, or nullptr if the item is too small.
  template <Overlay T>
  const T* get(uint64_t offset = 0) const {
    return overlay<T>(data, offset);
  }
  bool aligned(uint64_t number) const { return (number & (geometry.sectorsize - 1)) == 0; }
};

}  // namespace karst::btrfs

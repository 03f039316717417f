// The metadata device's own space map: read into BlockCounts when a pool is opened, written from it at each
// commit.
//
// Writing it takes and frees blocks, which changes it. So flush() first brings the tree of large counts up to
// date, then moves the index and every bitmap with a change to new places, until no move changes another
// bitmap; the counts then are final, and the bitmaps are filled from them.
#pragma once
#include <vector>

#include "thin/format/space_map.h"
#include "thin/metadata/btree.h"

namespace karst::thin {

class MetadataSpace {
 public:
  explicit MetadataSpace(BlockStore& store) : store_(store), count_tree_(store, sizeof(le32)) {}

  Result<void> create();
  // Fills the store's counts. err::space_map, and errors of reading.
  Result<void> open(const SpaceMapRoot& root);
  // The root for the superblock. Nothing may be taken or freed between this and the store's freeze().
  Result<SpaceMapRoot> flush();
  // Blocks that a flush takes at most.
  uint64_t flush_needs() const;

 private:
  Result<void> load_bitmap(uint32_t index);
  Result<void> load_large_counts();
  Result<void> flush_large_counts();
  Result<std::vector<uint32_t>> move_changed_bitmaps();
  Result<void> fill_bitmap(uint32_t index);

  BlockStore& store_;
  Btree count_tree_;
  MetadataBlock index_block_{}, count_root_{};
  std::vector<IndexEntry> index_;
};

}  // namespace karst::thin

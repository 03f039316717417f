// Space maps: how often each block of a device is used.
//
// Two bits for a block, in bitmaps of 16320 blocks each: 0, 1, 2, or 3 for "above 2", and then the count is
// in a tree. An index entry for each bitmap says where it is. The metadata device's index is one block of at
// most 255 entries; the data device's is a tree. Source: Linux
// drivers/md/persistent-data/dm-space-map-common.h, dm-space-map-metadata.h.
#pragma once
#include <array>
#include <cstdint>

#include "core/bytes.h"
#include "core/endian.h"
#include "core/result.h"
#include "thin/format/ids.h"

namespace karst::thin {

struct SpaceMapRoot {
  le64 nr_blocks;
  le64 nr_allocated;
  le64 bitmap_root;     // of the index: a MetadataIndex block, or a tree of IndexEntry
  le64 ref_count_root;  // a tree of le32
};
static_assert(sizeof(SpaceMapRoot) == 32 && alignof(SpaceMapRoot) == 1);

struct IndexEntry {
  le64 blocknr;           // of the bitmap
  le32 nr_free;           // among all 16320 entries, of which the last bitmap uses only the first
  le32 none_free_before;  // a hint: where to look
};
static_assert(sizeof(IndexEntry) == 16 && alignof(IndexEntry) == 1);

constexpr uint32_t metadata_index_max = 255;
struct MetadataIndex {
  le32 csum;
  le32 padding;
  le64 blocknr;
  std::array<IndexEntry, metadata_index_max> entries;
};
static_assert(sizeof(MetadataIndex) == metadata_block_size && alignof(MetadataIndex) == 1);

struct BitmapHeader {
  le32 csum;
  le32 not_used;
  le64 blocknr;
};
static_assert(sizeof(BitmapHeader) == 16);

constexpr uint32_t bitmap_entries = (metadata_block_size - sizeof(BitmapHeader)) * 4;  // 16320
constexpr uint32_t count_in_tree = 3;  // the bits of a count that is in the tree: this or more
// Linux uses no more of a metadata device than it can count.
constexpr uint64_t metadata_blocks_max = uint64_t{metadata_index_max} * ((1u << 14) - 64);
static_assert(bitmap_entries == (1u << 14) - 64);

constexpr uint64_t bitmaps_for(uint64_t blocks) {
  return blocks / bitmap_entries + (blocks % bitmap_entries != 0);
}

// The entries of a bitmap block. Of each pair of bits the lower one has the higher value.
class BitmapView {
 public:
  explicit BitmapView(Bytes block) : words_(block.subspan(sizeof(BitmapHeader))) {}
  uint32_t get(uint32_t entry) const;
  // The first entry of 0 in [begin, end), or end.
  uint32_t find_free(uint32_t begin, uint32_t end) const;
  // The first entry other than 0 in [begin, end), or end.
  uint32_t find_used(uint32_t begin, uint32_t end) const;
  // How many of the first `entries` are 0.
  uint32_t count_free(uint32_t entries) const;

 private:
  uint64_t word(uint32_t entry) const { return *overlay<le64>(words_, entry / 32 * 8); }
  Bytes words_;
};

class MutableBitmapView : public BitmapView {
 public:
  explicit MutableBitmapView(MutableBytes block)
      : BitmapView(block), words_(block.subspan(sizeof(BitmapHeader))) {}
  void set(uint32_t entry, uint32_t bits);

 private:
  MutableBytes words_;
};

}  // namespace karst::thin

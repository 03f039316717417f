// How often each block of the metadata device is used, and which can be taken.
//
// The counts are in memory, whole: four bytes for each 4 KiB, so at most 16 MiB. That is what keeps the space
// map that accounts for its own blocks simple: a commit settles where its blocks go before it writes any
// (metadata_space.h).
//
// A block that was in use when the last transaction became durable is not given out again before the
// transaction that freed it is durable, whatever its count: after a crash the old trees are still whole. So a
// block is in one of four states; "fresh" ones are the running transaction's own and may be changed in place:
//
//   available ──allocate──► fresh ──freeze──► settled ──release──► leaving ──durable──► available
//       ▲                     └──release──► available
//
// Not thread-safe: guarded by the lock of who owns it.
#pragma once
#include <cstdint>
#include <unordered_set>
#include <vector>

#include "core/result.h"
#include "thin/format/ids.h"

namespace karst::thin {

class BlockCounts {
 public:
  // Of a device of that many blocks, none used.
  explicit BlockCounts(uint64_t blocks);

  uint64_t blocks() const { return counts_.size(); }
  uint64_t allocated() const { return allocated_; }        // with a count above 0
  uint64_t available() const { return blocks() - busy_; }  // that allocate() can give
  // Zero for a block outside of the device.
  uint32_t count(MetadataBlock block) const;
  bool is_fresh(MetadataBlock block) const { return fresh_.contains(raw(block)); }

  // The lowest available block, fresh and with a count of 1. err::no_space.
  Result<MetadataBlock> allocate();
  // err::space_map for a block outside of the device, of no count, or of the largest.
  Result<void> retain(MetadataBlock block);
  // True if it was the last.
  Result<bool> release(MetadataBlock block);
  // While a pool is opened: what the space map says.
  void load(MetadataBlock block, uint32_t count);
  void load_large(MetadataBlock block, uint32_t count) { counts_[raw(block)] = count; }
  void grow(uint64_t blocks);

  // Ends a transaction: its fresh blocks are settled, and those that left come back for end_transaction().
  std::vector<MetadataBlock> freeze();
  // They may be used from now on: the transaction that freed them is durable.
  void make_available(const std::vector<MetadataBlock>& leaving);

  // Bitmaps (of bitmap_entries blocks) with changed counts since this was last asked.
  std::vector<uint32_t> take_changed_bitmaps();
  // Blocks whose counts were or are above 2 and have changed since this was last asked.
  std::vector<MetadataBlock> take_changed_large();
  uint64_t changed_large() const { return changed_large_.size(); }

 private:
  void note_change(uint64_t block, uint32_t before, uint32_t after);
  void set_busy(uint64_t block, bool busy);

  std::vector<uint32_t> counts_;
  std::vector<uint64_t> busy_bits_;  // a bit for each block that is not available
  uint64_t busy_ = 0;
  uint64_t allocated_ = 0;
  uint64_t search_from_ = 0;  // words of busy_bits_ below are full
  std::unordered_set<uint64_t> fresh_;
  std::vector<MetadataBlock> leaving_;
  std::vector<bool> changed_bitmaps_;
  std::unordered_set<uint64_t> changed_large_;
};

}  // namespace karst::thin

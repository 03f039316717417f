// The ranges of data that have checksums, in order, to be laid beside the extents in order.
#pragma once
#include "btrfs/tool/check/item_stream.h"
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

// Where the first sector without a checksum in this tree is, from `start` on; at most `end`. Looks it up.
uint64_t first_unsummed(State& state, const BlockPointer& tree, uint64_t start, uint64_t end);

// Of one range of addresses. Reports checksums that overlap, and those without an extent. Not thread-safe.
class CsumRanges {
 public:
  // Without a tree nothing has checksums. `quiet`: nothing is reported or counted, it was before.
  CsumRanges(State& state, const RootRecord* tree, uint64_t from, uint64_t to, bool quiet);

  // How much of [start, end) has checksums; ranges ascend. What lies before `start` belongs to no extent.
  uint64_t take(uint64_t start, uint64_t end);
  // Everything that lies before `start` and was not taken.
  void pass(uint64_t start);
  // Checksums passed over are not reported from now on: the extents are not all known.
  void distrust_extents() { report_orphans_ = false; }
  bool incomplete() const { return items_ && items_->incomplete(); }

 private:
  bool load();
  void orphan(uint64_t start, uint64_t end);
  void flush_orphan();

  State& state_;
  const uint64_t from_, to_;
  const bool quiet_;
  std::optional<ItemStream> items_;
  uint64_t start_ = 0, end_ = 0;  // what is left of the current item; empty: load the next
  uint64_t previous_end_ = 0;
  uint64_t orphan_start_ = 0, orphan_end_ = 0;
  bool report_orphans_ = true;
};

}  // namespace karst::btrfs::check

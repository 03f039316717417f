// What is remembered of each tree block: 64 bytes for each unique block, whatever refers to it and however
// often.
//
// A block is claimed by whoever is to read it, exactly once in each scan; what was seen of it stays, so that
// other referrers are compared with it without reading the block again. Thread-safe; an entry is written by
// the one who claimed it and read by others after the scan.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "btrfs/format/check.h"
#include "btrfs/tool/check/sketch.h"
#include "core/function_ref.h"
#include "core/mutex.h"

namespace karst::btrfs::check {

struct BlockFacts {
  uint64_t generation = 0;
  uint64_t owner = 0;
  uint64_t first_key = 0;  // a hash of it
  Sum sum;                 // a subvolume's block: of all facts below it (inode_facts.h)
  uint8_t level = 0;
  bool good = false;          // read and verified
  bool complete = true;       // so is all below it
  bool full_backref = false;  // its extent item says that it is the parent of what it points to
  bool holds_files = false;   // reached from a subvolume: takes part in its sum
};

class BlockTable {
 public:
  BlockTable();

  // True for the first who asks in this scan.
  bool claim(uint64_t bytenr);
  // Begins another scan: everything can be claimed again.
  void next_scan() { ++scan_; }
  void update(uint64_t bytenr, FunctionRef<void(BlockFacts&)> change);
  // All default if it is not known.
  BlockFacts find(uint64_t bytenr) const;
  // Of the subvolumes' blocks that were read, of one level; ascending.
  std::vector<uint64_t> file_nodes(uint8_t level) const;
  size_t size() const;

 private:
  struct Entry {
    uint64_t bytenr = 0;  // 0: free; no tree block is there
    uint32_t scan = 0;    // the last one in which it was claimed
    BlockFacts facts;
  };
  // Open addressing; grows by doubling at three quarters.
  struct Shard {
    static constexpr LockClass lock_class{"check.block-table"};
    mutable Mutex mutex{lock_class};
    std::vector<Entry> entries GUARDED_BY(mutex);
    size_t used GUARDED_BY(mutex) = 0;
    Entry& locate(uint64_t bytenr) REQUIRES(mutex);
    const Entry* look_up(uint64_t bytenr) const REQUIRES(mutex);
    void grow() REQUIRES(mutex);
  };
  static uint64_t spread(uint64_t bytenr) { return bytenr * 0x9e3779b97f4a7c15ull; }
  Shard& shard_of(uint64_t bytenr) const { return *shards_[spread(bytenr) >> 58]; }

  std::array<std::unique_ptr<Shard>, 64> shards_;
  uint32_t scan_ = 1;  // changed only between scans
};

}  // namespace karst::btrfs::check

// What is remembered of each tree block, whatever refers to it and however often: 64 bytes in a table that is
// at least three fifths full, so about 100 bytes for each unique block.
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
  // Of the trees that refer to it by their number, the first, which is the owner unless it has let go of it.
  uint64_t referrer = ~0ull;
  uint8_t level = 0;
  bool good : 1 = false;          // read and verified
  bool complete : 1 = true;       // so is all below it
  bool full_backref : 1 = false;  // its extent item says that it is the parent of what it points to
  bool holds_files : 1 = false;   // reached from a subvolume: takes part in its sum
  bool relocated : 1 = false;     // its header says that relocation made it
  uint32_t scan = 0;              // the last one in which it was claimed; the table's own
};

class BlockTable {
 public:
  static constexpr size_t shard_count = 64;
  static constexpr size_t bytes_each = 107;  // at most, of blocks in the table

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
  // All blocks of one shard, of shard_count; nothing may change the table meanwhile.
  void for_each(size_t shard, FunctionRef<void(uint64_t bytenr, const BlockFacts&)> visit) const;

 private:
  struct Entry {
    uint64_t bytenr = 0;  // 0: free; no tree block is there
    BlockFacts facts;
  };
  static_assert(sizeof(Entry) == 64);
  // Open addressing; grows by a quarter when it is three quarters full.
  struct Shard {
    static constexpr LockClass lock_class{"check.block-table"};
    mutable Mutex mutex{lock_class};
    std::vector<Entry> entries GUARDED_BY(mutex);
    size_t used GUARDED_BY(mutex) = 0;
    // Where it is, or the free entry where it would be; the table is never full.
    size_t place_of(uint64_t bytenr) const REQUIRES(mutex);
    Entry& locate(uint64_t bytenr) REQUIRES(mutex);
    void grow() REQUIRES(mutex);
  };
  static uint64_t spread(uint64_t bytenr) { return bytenr * 0x9e3779b97f4a7c15ull; }
  Shard& shard_of(uint64_t bytenr) const { return *shards_[spread(bytenr) >> 58]; }

  std::array<std::unique_ptr<Shard>, shard_count> shards_;
  uint32_t scan_ = 1;  // changed only between scans
};

}  // namespace karst::btrfs::check

// What cannot be read of trees that are walked in spite of damage.
//
// A tree that was given a Damage is tolerant: where a block of it cannot be read, cursors go on behind it, as
// if the items below were not there, and note here which keys those are. Whoever then finds something missing
// asks whether it is absent or lost. Thread-safe. Memory: one range for each run of lost blocks, of which no
// two touch; past a limit neighbours are taken together, so that more is called lost than is.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "btrfs/format/key.h"
#include "core/error.h"
#include "core/mutex.h"

namespace karst::btrfs {

// A block that could not be used, and the keys that are lost with it: first … last, both included.
struct LostBlock {
  uint64_t tree = 0;
  Key first, last;
  uint64_t bytenr = 0;
  uint8_t level = 0;
  std::string reason;
};

class Damage {
 public:
  // Notes that `lost` could not be read. The same loss is noted once.
  void add(uint64_t tree, const Key& first, const Key& last, uint64_t bytenr, uint8_t level,
           const Error& reason);
  // Whether anything of these keys of the tree is lost; whether all of it is.
  bool touches(uint64_t tree, const Key& first, const Key& last) const;
  bool covers(uint64_t tree, const Key& first, const Key& last) const;
  bool any(uint64_t tree) const;
  // The blocks in the order in which they were met, at most blocks_max of them; and how many there were.
  std::vector<LostBlock> blocks() const;
  uint64_t block_count() const;

  static constexpr size_t blocks_max = 16384;
  static constexpr size_t ranges_max = 1 << 20;

 private:
  using Ranges = std::map<Key, Key>;  // first to last; disjoint, not touching
  void merge_locked(Ranges& ranges, Key first, Key last) REQUIRES(mutex_);

  static constexpr LockClass lock_class{"btrfs.damage"};
  mutable Mutex mutex_{lock_class};
  std::map<uint64_t, Ranges> trees_ GUARDED_BY(mutex_);
  size_t range_count_ GUARDED_BY(mutex_) = 0;
  std::vector<LostBlock> blocks_ GUARDED_BY(mutex_);
  uint64_t block_count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace karst::btrfs

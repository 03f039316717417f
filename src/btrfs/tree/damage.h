// What cannot be read of trees that are walked in spite of damage.
//
// A tree that was given a Damage is tolerant: where a block of it cannot be read, cursors go on behind it, as
// if the items below were not there, and note here which keys those are. Whoever then finds something missing
// asks whether it is absent or lost. Thread-safe. Memory: one range for each run of lost blocks, of which no
// two touch; past a limit neighbours are taken together, so that more is called lost than is.
//
// Inner nodes that were made again by other means (tool/restore/node_rebuild) can be given here as
// substitutes. What they lead to may be of an older state, as may blocks of another generation than their
// pointers have: their keys are noted as doubtful.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "btrfs/format/key.h"
#include "core/error.h"
#include "core/function_ref.h"
#include "core/mutex.h"

namespace karst::btrfs {

// A block that could not be used, and the keys that are lost with it: first … last, both included.
struct LostBlock {
  uint64_t tree = 0;
  Key first, last;
  uint64_t bytenr = 0;
  uint8_t level = 0;
  std::string reason;
  bool rebuilt = false;  // a substitute was used: only what it has no child for is lost
};

class Damage {
 public:
  // Notes that this could not be read. The same loss is noted once.
  void add(const LostBlock& lost);
  // Whether anything of these keys of the tree is lost; whether all of it is.
  bool touches(uint64_t tree, const Key& first, const Key& last) const;
  bool covers(uint64_t tree, const Key& first, const Key& last) const;
  bool any(uint64_t tree) const;
  // What is lost of the tree: first and last keys, in order.
  std::vector<std::pair<Key, Key>> ranges(uint64_t tree) const;
  // Whether something is lost of a tree that fulfils this.
  bool any_of(FunctionRef<bool(uint64_t tree)> tree) const;
  // Notes that what the tree has of these keys may be of an older state than the rest: items may be
  // missing, be older, or point to what has been given to others since.
  void doubt(uint64_t tree, const Key& first, const Key& last);
  // Whether this was noted of any of these keys; of which keys of the tree, in order.
  bool is_doubtful(uint64_t tree, const Key& first, const Key& last) const;
  std::vector<std::pair<Key, Key>> doubts(uint64_t tree) const;

  // What stands in for a node that cannot be read: a tree block of any size, and keys of its range that it
  // may not have all children for, or may have older ones for.
  struct Substitute {
    std::vector<std::byte> node;
    std::vector<std::pair<Key, Key>> gaps, doubts;  // first and last
  };
  void set_substitute(uint64_t bytenr, Substitute substitute);
  // The node to use instead of the lost block, or nullptr. Notes, once for each tree, that it is used, its
  // gaps and its doubts.
  std::shared_ptr<const std::vector<std::byte>> use_substitute(const LostBlock& lost);

  // The blocks in the order in which they were met, at most blocks_max of them; and how many there were.
  std::vector<LostBlock> blocks() const;
  uint64_t block_count() const;

  static constexpr size_t blocks_max = 16384;
  static constexpr size_t ranges_max = 1 << 20;

 private:
  using Ranges = std::map<Key, Key>;  // first to last; disjoint, not touching
  struct Stored {
    std::shared_ptr<const std::vector<std::byte>> node;
    std::vector<std::pair<Key, Key>> gaps, doubts;
    std::set<uint64_t> used_by;  // trees
  };
  void tell_locked(const LostBlock& lost) REQUIRES(mutex_);
  void merge_locked(Ranges& ranges, Key first, Key last) REQUIRES(mutex_);

  static constexpr LockClass lock_class{"btrfs.damage"};
  mutable Mutex mutex_{lock_class};
  std::map<uint64_t, Ranges> trees_ GUARDED_BY(mutex_);        // what is lost of them
  std::map<uint64_t, Ranges> doubts_ GUARDED_BY(mutex_);       // what may be older
  size_t range_count_ GUARDED_BY(mutex_) = 0;                  // of both
  std::map<uint64_t, Stored> substitutes_ GUARDED_BY(mutex_);  // by address
  std::vector<LostBlock> blocks_ GUARDED_BY(mutex_);
  uint64_t block_count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace karst::btrfs

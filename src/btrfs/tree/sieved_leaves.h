// Leaves of which the invalid items were left out, so that the others can be used.
//
// For tools that recover what they can. A leaf whose checksum is right may hold an item that breaks the rules
// of its type: bits that turned over in memory before it was written, or a kernel that has erred. Remembered
// is what was left out, so that whoever looks for it learns that it is lost and not absent. Thread-safe.
// Memory: at most `items_max` items.
#pragma once
#include <atomic>
#include <memory>
#include <unordered_map>
#include <vector>

#include "btrfs/format/check.h"
#include "core/mutex.h"

namespace karst::btrfs {

struct SievedLeaf {
  struct Item {
    Key key;
    const ErrorKind* kind;  // what is wrong with it
  };
  Key first_key;  // before anything was left out
  std::vector<Item> left_out;
};

class SievedLeaves {
 public:
  static constexpr size_t items_max = 1 << 20;

  // Takes the invalid items out of a leaf that is sound otherwise, and remembers them by its address. The
  // error is that of find_invalid_items, or that there are too many.
  Result<void> sieve(MutableBytes leaf, const Geometry& geometry);
  // What was left out of the leaf at this address; nullptr if nothing was. Cheap while no leaf has lost
  // anything.
  std::shared_ptr<const SievedLeaf> find(uint64_t bytenr) const;

 private:
  static constexpr LockClass lock_class{"btrfs.sieved-leaves"};
  mutable Mutex mutex_{lock_class};
  std::unordered_map<uint64_t, std::shared_ptr<const SievedLeaf>> leaves_ GUARDED_BY(mutex_);
  size_t items_ GUARDED_BY(mutex_) = 0;
  std::atomic<bool> any_{false};  // set once; leaves_ need not be looked at before
};

}  // namespace karst::btrfs

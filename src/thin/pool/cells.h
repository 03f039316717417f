// Cells: requests that touch the same blocks of a volume and change where they are go one after the other, in
// the order in which they came (TH-009).
//
// A cell is a range of a volume's blocks, held by who constructed it until it goes out of scope. Who finds an
// overlapping one before itself waits for it; nobody overtakes, so none waits for ever. A cell that nobody
// waits for wakes nobody when it ends (TH-052). Cells live in their holders' stacks: nothing is allocated
// (TH-028). Requests to blocks that are mapped and not shared take no cell.
#pragma once
#include <cstdint>

#include "core/mutex.h"
#include "thin/format/ids.h"

namespace karst::thin {

inline constexpr LockClass cells_lock{"thin.cells"};

class Cells {
 public:
  class Hold {
   public:
    // Blocks [begin, end) of the volume; may wait. The holder holds no other cell.
    Hold(Cells& cells, DeviceId volume, uint64_t begin, uint64_t end);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    friend class Cells;
    bool overlaps(const Hold& other) const {
      return volume_ == other.volume_ && begin_ < other.end_ && other.begin_ < end_;
    }
    Cells& cells_;
    const DeviceId volume_;
    const uint64_t begin_, end_;
    // Guarded by the cells' lock. A list in order of arrival.
    Hold *before_ = nullptr, *after_ = nullptr;
    uint32_t waiters_ = 0;  // that found this one before them
    CondVar ended_;         // of this one
  };

  uint64_t wake_ups() const;

 private:
  Hold* first_before(const Hold& hold) const REQUIRES(mutex_);

  mutable Mutex mutex_{cells_lock};
  Hold* last_ GUARDED_BY(mutex_) = nullptr;
  uint64_t wake_ups_ GUARDED_BY(mutex_) = 0;
};

}  // namespace karst::thin

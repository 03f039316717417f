// Where data goes in a file system that is being made: from the start of one data chunk to its end, then
// into the next.
//
// Not thread-safe. Errors: no_space from DeviceSpace when the devices are full.
#pragma once
#include <vector>

#include "btrfs/extent/device_space.h"

namespace karst::btrfs {

// The logical address space: what was never given to anyone.
class LogicalSpace {
 public:
  uint64_t take(uint64_t length) {
    uint64_t start = next_;
    next_ += length;
    return start;
  }

 private:
  uint64_t next_ = 1 << 20;
};

class DataSpace {
 public:
  // Chunks of these block_group flags, with stripes of up to `stripe_max` bytes.
  DataSpace(DeviceSpace& devices, LogicalSpace& logical, uint64_t type, uint64_t stripe_max)
      : devices_(devices), logical_(logical), type_(type), stripe_max_(stripe_max) {}

  struct Run {
    uint64_t address = 0;
    uint64_t length = 0;
  };
  // Up to `length` bytes in one piece, at least `at_least` (both whole sectors). What is left of a chunk that
  // is too small for that stays free.
  Result<Run> allocate(uint64_t length, uint64_t at_least);
  // The chunk of an address from allocate(); valid until the next allocate().
  const ChunkEntry& chunk_of(uint64_t address) const;

  // No more data: cuts the last chunk down to what is used, but leaves it `least` bytes, and makes one if
  // there is none. Returns the chunks, ascending.
  Result<std::vector<ChunkEntry>> finish(uint64_t least);

 private:
  Result<void> add_chunk(uint64_t stripe_min, uint64_t stripe_max);

  DeviceSpace& devices_;
  LogicalSpace& logical_;
  const uint64_t type_;
  const uint64_t stripe_max_;
  std::vector<ChunkEntry> chunks_;
  uint64_t next_ = 0;  // within the last chunk
};

}  // namespace karst::btrfs

// Room on the devices of a file system: which bytes of each belong to no chunk, and where the stripes of a
// new chunk go.
//
// No chunk is placed over the first MiB of a device, which is reserved, nor over a copy of the superblock: so
// every byte of a chunk of ours can be used. (Linux places chunks over the copies and leaves the stripes of
// 64 KiB around them unused; fs/btrfs/block-group.c, exclude_super_stripes.) Stripes begin and end on
// multiples of 64 KiB.
//
// Not thread-safe.
#pragma once
#include <map>
#include <vector>

#include "btrfs/volume/chunk_map.h"

namespace karst::btrfs {

constexpr uint64_t device_reserved = 1 << 20;  // bytes at the start of each device

struct SpaceDevice {
  uint64_t devid = 0;
  Uuid uuid{};
  uint64_t size = 0;  // bytes
};

class DeviceSpace {
 public:
  explicit DeviceSpace(const std::vector<SpaceDevice>& devices);

  // A chunk at `logical` of these block_group flags whose stripes take at most `stripe_max` bytes on each
  // device, but not less than `stripe_min` (both multiples of 64 KiB). Low addresses are filled first: a hole
  // in which stripes are shorter than they might be elsewhere is taken, unless they would be very short. The
  // profile decides how many devices it takes; those with most room are taken. no_space if there are too
  // few, with what was asked for and what is there.
  Result<ChunkEntry> allocate(uint64_t logical, uint64_t type, uint64_t stripe_min, uint64_t stripe_max);

  // The same for `length` logical bytes, rounded up to whole stripes; less if devices are short of room, down
  // to stripes of `stripe_min`.
  Result<ChunkEntry> allocate_bytes(uint64_t logical, uint64_t type, uint64_t stripe_min, uint64_t length);

  // Cuts the chunk down to stripes of this size; the rest is free again.
  void trim(ChunkEntry& chunk, uint64_t stripe_size);

  // Bytes of the device that chunks have, and where the last of them ends (the reserved part if there is
  // none).
  uint64_t used(uint64_t devid) const;
  uint64_t end_of_chunks(uint64_t devid) const;

 private:
  struct Room {
    SpaceDevice device;
    std::map<uint64_t, uint64_t> free;  // start to end
    uint64_t used = 0;

    uint64_t total() const;
    // The most that each of `count` stripes on this device can have.
    uint64_t largest_of(uint32_t count) const;
    // The most that each can have in the first hole in which that is at least `least`; 0 if there is none.
    uint64_t first_of(uint32_t count, uint64_t least) const;
    uint64_t take(uint64_t length);  // its start; there is room
    void give(uint64_t start, uint64_t end);
  };
  Room& room(uint64_t devid);
  const Room& room(uint64_t devid) const { return const_cast<DeviceSpace*>(this)->room(devid); }

  std::vector<Room> rooms_;
};

// How many stripes a chunk of this profile has on so many devices with room for one each (for dup: two on
// one); 0 if they are too few.
uint32_t stripes_for(const Profile& profile, uint32_t devices);
// The fewest devices that a file system needs for a profile when it is made.
uint32_t devices_needed(const Profile& profile);

// The chunk's item in the chunk tree and the superblock: a Chunk and its stripes.
std::vector<std::byte> chunk_item(const ChunkEntry& chunk, uint32_t sectorsize);

}  // namespace karst::btrfs

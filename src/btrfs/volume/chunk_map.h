// The map from logical addresses to stripes on devices, and the arithmetic of the profiles.
//
// A chunk covers [logical, logical + length) with `stripes.size()` stripes of devices. A *copy* is one way to
// obtain a byte: for mirrored profiles copy n is the n-th mirror; for raid5/6 copy 0 is the data stripe
// itself and the higher ones are reconstructions (see volume.h). Pure arithmetic: no I/O here.
// Thread-safety: immutable once filled; filling is single-threaded, while the file system is being opened.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "btrfs/format/superblock.h"
#include "core/result.h"

namespace karst::btrfs {

namespace err {
extern const ErrorKind chunk_missing;  // no chunk covers the address
extern const ErrorKind chunk_overlap;
}  // namespace err

struct ChunkStripe {
  uint64_t devid;
  uint64_t offset;  // bytes on the device
  Uuid dev_uuid;
};

struct ChunkEntry {
  uint64_t logical;
  uint64_t length;
  uint64_t type;  // block_group flags
  const Profile* profile;
  uint16_t sub_stripes;
  std::vector<ChunkStripe> stripes;

  bool contains(uint64_t address) const { return address >= logical && address - logical < length; }
  uint64_t end() const { return logical + length; }
  bool is_parity() const { return profile->parity > 0; }
  uint32_t data_stripes() const;  // stripes of a row that hold different data
  int copies() const;             // ways to obtain a byte
  uint64_t stripe_size() const;   // bytes each stripe takes on its device
};

// Where a run of bytes is: `length` bytes from `offset` of the device of stripe `stripe`.
struct StripeRun {
  uint32_t stripe;  // index into ChunkEntry::stripes
  uint64_t offset;  // bytes on the device
  uint64_t length;
  uint64_t row;         // raid5/6: the row of stripes
  uint32_t data_index;  // raid5/6: which of the row's data stripes this is
};

// The run that starts at `address` for copy `copy` (0 … mirrors-1; for raid5/6 only 0), at most `length`
// bytes and never past the end of the stripe or the chunk.
StripeRun map_run(const ChunkEntry& chunk, uint64_t address, uint64_t length, int copy);

// raid5/6: stripe index of the k-th block of a row: data 0 … n-1, then P, then Q.
uint32_t row_stripe(const ChunkEntry& chunk, uint64_t row, uint32_t k);
// raid5/6: device offset of a row's start, the same on each stripe's device relative to its start.
uint64_t row_offset(const ChunkEntry& chunk, uint32_t stripe, uint64_t row);

class ChunkMap {
 public:
  // `item` has passed check_chunk_item(). Adding a chunk again replaces the same range; an overlap with
  // another range is chunk_overlap.
  Result<void> add(uint64_t logical, Bytes item);
  Result<const ChunkEntry*> find(uint64_t address) const;  // borrowed from the map
  const std::vector<ChunkEntry>& all() const { return chunks_; }

 private:
  std::vector<ChunkEntry> chunks_;  // ascending, disjoint
};

}  // namespace karst::btrfs

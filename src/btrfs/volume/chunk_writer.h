// Writes logical ranges to all the stripes that hold them: each mirror, and for raid5/6 the parity too.
//
// Writers go through a chunk from its start to its end, so a row of raid5/6 is written once, when the writer
// leaves it, with its parity computed from the whole row; what was never written of it is zeroes. Until
// finish() the last row of each parity chunk is held in memory.
//
// Not thread-safe; errors are those of the devices, and device_missing for a stripe on a device not given.
#pragma once
#include <map>
#include <unordered_map>
#include <vector>

#include "block/device.h"
#include "btrfs/volume/chunk_map.h"

namespace karst::btrfs {

class ChunkWriter {
 public:
  // The devices by devid, borrowed.
  explicit ChunkWriter(std::unordered_map<uint64_t, block::Device*> devices) : devices_(std::move(devices)) {}

  // Writes the pieces one after the other from `address`; the whole range lies in the chunk (verified). In a
  // parity chunk addresses only grow from call to call (verified).
  Result<void> write(const ChunkEntry& chunk, uint64_t address, std::span<const Bytes> pieces);
  Result<void> write(const ChunkEntry& chunk, uint64_t address, Bytes data) {
    return write(chunk, address, std::span(&data, 1));
  }
  // Writes the rows that are still held.
  Result<void> finish();

 private:
  // A row of a parity chunk: its data blocks one after the other, then P, then Q.
  struct Row {
    uint64_t number = 0;
    std::vector<std::byte> bytes;
  };
  Result<block::Device*> device_of(const ChunkStripe& stripe) const;
  Result<void> write_mirrors(const ChunkEntry& chunk, uint64_t address, Bytes data);
  Result<void> write_to_row(const ChunkEntry& chunk, uint64_t address, Bytes data);
  Result<void> write_row(const ChunkEntry& chunk, Row& row);

  const std::unordered_map<uint64_t, block::Device*> devices_;
  struct OpenRow {
    ChunkEntry chunk;
    Row row;
  };
  std::map<uint64_t, OpenRow> rows_;  // by the chunk's logical address
};

}  // namespace karst::btrfs

// Where tree blocks go in a file system that is being made.
//
// A block has its logical address at once, but where that is on the devices is decided when all blocks are
// known: so that data and metadata each lie in one piece and no chunk is larger than it must be. Until then
// blocks wait in memory and, above a limit, in a temporary file.
//
// Not thread-safe. Errors: those of the temporary file.
#pragma once
#include <vector>

#include "btrfs/extent/data_space.h"
#include "btrfs/tree/bulk_tree.h"
#include "core/spool.h"

namespace karst::btrfs {

// What the extent tree has to say of a tree block.
struct BlockRecord {
  friend bool operator==(const BlockRecord&, const BlockRecord&) = default;
  uint64_t bytenr = 0;
  uint64_t owner = 0;
  uint8_t level = 0;
  Key first_key;
};

class MetadataSpace final : public BlockSink {
 public:
  MetadataSpace(LogicalSpace& logical, uint32_t nodesize, Spool::Options spool)
      : logical_(logical), nodesize_(nodesize), blocks_(std::move(spool)) {}

  Result<Logical> allocate() override { return Logical(address_of(allocated_++)); }
  Result<void> write(const TreeBlock& block) override;

  // The blocks written so far, ascending.
  const std::vector<BlockRecord>& records() const { return records_; }
  // The address that the n-th block has or will have.
  uint64_t address_of(uint64_t n);
  uint64_t count() const { return allocated_; }

  // The logical ranges that so many blocks fill, one after the other, and `spare` bytes after them. Each is
  // followed by as much that belongs to nobody, so that its last chunk may be longer.
  std::vector<DataSpace::Run> ranges(uint64_t blocks, uint64_t spare);
  // Gives all blocks again, in order, several that follow each other at a time.
  Result<void> for_each(FunctionRef<Result<void>(uint64_t address, Bytes blocks)> each);

 private:
  // Addresses are taken in units, so that data can go on between them.
  static constexpr uint64_t unit_size = 256 << 20;
  LogicalSpace& logical_;
  const uint32_t nodesize_;
  Spool blocks_;
  std::vector<uint64_t> units_;  // the address of each
  std::vector<BlockRecord> records_;
  uint64_t allocated_ = 0;
};

// Tells what a tree would be: goes on where the space ends, writes nothing, and keeps the records.
class PredictingSink final : public BlockSink {
 public:
  explicit PredictingSink(MetadataSpace& space, uint64_t first) : space_(space), next_(first) {}
  Result<Logical> allocate() override { return Logical(space_.address_of(next_++)); }
  Result<void> write(const TreeBlock& block) override;
  const std::vector<BlockRecord>& records() const { return records_; }

 private:
  MetadataSpace& space_;
  uint64_t next_;
  std::vector<BlockRecord> records_;
};

}  // namespace karst::btrfs

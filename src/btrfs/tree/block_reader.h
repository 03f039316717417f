// Tree blocks through the cache: each is read, verified, and then shared by everyone who needs it.
//
// What is in the cache has passed verify_block(). Different referrers may expect different things of one
// address, so every read compares the block with the pointer it was reached by, cached or not.
// Thread-safe.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "btrfs/tree/sieved_leaves.h"
#include "btrfs/volume/volume.h"
#include "cache/cache.h"

namespace karst::btrfs {

// A reference to a tree block, with what the referrer knows of it.
struct BlockPointer {
  Logical address{};
  uint64_t generation = 0;
  uint8_t level = 0;
  uint64_t root = 0;  // the tree being walked
  std::optional<Key> first_key;

  BlockExpectation expectation() const { return {address, generation, level, root, first_key}; }
};

// A verified block, pinned in the cache for the reference's life.
class BlockRef {
 public:
  BlockRef() = default;
  explicit BlockRef(cache::FolioRef folio);
  // One that is in no cache: made by the program.
  explicit BlockRef(std::shared_ptr<const std::vector<std::byte>> made);
  const TreeBlock& operator*() const { return view_; }
  const TreeBlock* operator->() const { return &view_; }
  explicit operator bool() const { return folio_ || made_; }
  void reset() { *this = BlockRef(); }

 private:
  cache::FolioRef folio_;
  std::shared_ptr<const std::vector<std::byte>> made_;
  TreeBlock view_;
};

// What is let pass of a block of which no copy is as it should be, for tools that recover what they can. Its
// structure is checked all the same.
struct BlockTolerance {
  bool generation = false;  // of another transaction: contents older or newer than the rest
  bool checksum = false;
  bool items = false;  // invalid items of a leaf: it is taken without them

  bool any() const { return generation || checksum || items; }
};

class BlockReader {
 public:
  BlockReader(const Volume& volume, cache::Cache& cache, BlockTolerance tolerance = {});
  ~BlockReader();
  BlockReader(const BlockReader&) = delete;
  BlockReader& operator=(const BlockReader&) = delete;

  Result<BlockRef> read(const BlockPointer& pointer);
  // Tells the devices that these blocks will be read soon, where they are not cached. Best effort.
  void will_read(std::span<const BlockPointer> pointers);

  // What was left out of a leaf (BlockTolerance::items), for those who have to know that it is lost; nullptr
  // if nothing was.
  std::shared_ptr<const SievedLeaf> sieved(uint64_t bytenr) const { return sieved_.find(bytenr); }
  // Blocks taken although none of their copies was as it should be.
  uint64_t tolerated() const { return tolerated_.load(std::memory_order_relaxed); }

  const Volume& volume() const { return volume_; }
  const Geometry& geometry() const { return volume_.geometry(); }

 private:
  BlockExpectation expectation_of(const BlockPointer& pointer) const;
  Result<void> check_identity(const TreeBlock& block, const BlockPointer& pointer) const;
  Result<void> read_tolerantly(const BlockPointer& pointer, MutableBytes bytes, Error reason);

  const Volume& volume_;
  cache::Cache& cache_;
  const BlockTolerance tolerance_;
  const cache::ObjectId object_;  // the metadata address space; index: logical address
  SievedLeaves sieved_;
  std::atomic<uint64_t> tolerated_{0};  // statistics only
};

}  // namespace karst::btrfs

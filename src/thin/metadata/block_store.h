// Blocks of the metadata device: read through the cache and verified, changed by copying.
//
// A transaction never writes over a block that the last durable state uses. shadow() gives a block that may
// be changed: the block itself if it is the transaction's own (fresh) and has one referrer, otherwise a copy.
// So what a transaction writes may reach the device at any time and in any order; only the superblock makes
// it count. Changed blocks are pinned in the cache until they are written; balance() writes some when there
// are many.
//
// Reading is thread-safe. What changes (create, shadow, balance, freeze, counts()) needs the owner's lock,
// held exclusively; readers of the trees hold it shared. write() of frozen blocks needs none: they do not
// change any more.
#pragma once
#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "block/device.h"
#include "cache/cache.h"
#include "thin/format/block.h"
#include "thin/format/node.h"
#include "thin/metadata/block_counts.h"

namespace karst::thin {

// A verified block, pinned in the cache.
class BlockRef {
 public:
  BlockRef() = default;
  explicit BlockRef(cache::FolioRef folio) : folio_(std::move(folio)) {}
  Bytes bytes() const { return folio_.bytes(); }
  NodeView node() const { return NodeView(folio_.bytes()); }
  explicit operator bool() const { return static_cast<bool>(folio_); }

 private:
  cache::FolioRef folio_;
};

class BlockStore {
 public:
  // The device and the cache outlive the store. Blocks from nr_blocks on are outside.
  BlockStore(block::Device& device, cache::Cache& cache, uint64_t nr_blocks);
  ~BlockStore();
  BlockStore(const BlockStore&) = delete;
  BlockStore& operator=(const BlockStore&) = delete;

  // Errors name device and block: err::io, those of check_seal() and check_node(), err::node_bounds for a
  // number outside of the device.
  Result<BlockRef> read(BlockKind kind, MetadataBlock number);
  Result<BlockRef> read_node(MetadataBlock number, uint32_t value_size);
  // The whole block as it is on the device, not by way of the cache.
  Result<void> read_raw(MetadataBlock number, MutableBytes into) const;

  struct Writable {
    MetadataBlock number{};
    MutableBytes bytes;       // until freeze() or balance()
    bool was_shared = false;  // shadow(): the old block still has referrers, so its children have one more
  };
  // A new block of zeroes. err::no_space, err::no_memory.
  Result<Writable> create(BlockKind kind);
  Result<Writable> shadow(BlockKind kind, MetadataBlock number);
  Result<Writable> shadow_node(MetadataBlock number, uint32_t value_size);
  // One referrer less; true if it was the last. Children are the caller's.
  Result<bool> release(MetadataBlock number);
  BlockCounts& counts() { return counts_; }
  const BlockCounts& counts() const { return counts_; }

  // Writes changed blocks if more than the limit wait. Invalidates what create() and shadow() gave.
  Result<void> balance();

  // A transaction's end, to be written.
  struct Dirty {
    MetadataBlock number{};
    BlockKind kind{};
    cache::FolioRef folio;
  };
  struct Frozen {
    std::vector<Dirty> blocks;
    std::vector<MetadataBlock> leaving;
  };
  // Sorted and sealed: from here on they do not change, and are read by whoever copies them for the next
  // transaction.
  Frozen freeze();
  // Writes them in large pieces; plain writes.
  Result<void> write(const std::vector<Dirty>& blocks) const;
  // Forgets all that is not written and all that is cached.
  void forget();

  block::Device& device() const { return device_; }
  uint64_t nr_blocks() const { return counts_.blocks(); }

 private:
  cache::FolioKey key_of(BlockKind kind, MetadataBlock number) const {
    return {objects_[static_cast<size_t>(kind)], raw(number)};
  }
  Result<cache::FolioRef> get(BlockKind kind, MetadataBlock number, uint32_t value_size);
  Result<cache::FolioRef> publish(BlockKind kind, cache::NewFolio folio);
  Result<Writable> shadow(BlockKind kind, MetadataBlock number, uint32_t value_size);
  static void seal(std::vector<Dirty>& blocks);
  void add_objects();
  void remove_objects();

  block::Device& device_;
  cache::Cache& cache_;
  std::array<cache::ObjectId, 4> objects_{};  // by kind: a block cached as one is not taken for another
  const size_t dirty_limit_;                  // blocks
  BlockCounts counts_;
  std::unordered_map<uint64_t, Dirty> dirty_;
};

}  // namespace karst::thin

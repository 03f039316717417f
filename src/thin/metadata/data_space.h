// The space map of the data device: bitmaps and index of it are metadata blocks, read and copied like the
// trees'.
//
// The index (16 bytes for 16320 blocks) is held in memory; the tree of it is brought up to date by flush(). A
// block is given out only if it is free now and was free in every state that a crash could bring back: in the
// bitmap of the last durable transaction, and of the one being committed (TH-012: nothing is written over
// what those refer to).
//
// Locks as for BlockStore.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "thin/format/space_map.h"
#include "thin/metadata/block_ranges.h"
#include "thin/metadata/btree.h"

namespace karst::thin {

class DataSpace {
 public:
  explicit DataSpace(BlockStore& store);

  // A space map of no blocks; or the one the superblock leads to. Errors: err::space_map and those of
  // reading.
  Result<void> create();
  Result<void> open(const SpaceMapRoot& root);

  uint64_t blocks() const { return blocks_; }
  uint64_t allocated() const { return allocated_; }
  // What can be given out: free now, not freed by a transaction that is not durable, and not kept.
  uint64_t available() const { return blocks_ - allocated_ - held_ - kept_count_; }

  Result<uint32_t> count(DataBlock block);
  Result<void> grow(uint64_t blocks);

  // Reserves the next free block; nothing if there is none. A reservation is in memory only: a crash between
  // it and use() leaks nothing.
  Result<std::optional<DataBlock>> reserve();
  // A reserved block gets its first referrer. err::invalid if it is not reserved (any more).
  Result<void> use(DataBlock block);
  // Not to be used after all.
  void unreserve(DataBlock block);
  Result<void> retain(DataBlock block);
  enum class Freed : uint8_t { given_back, kept };
  // True if it was the last referrer.
  Result<bool> release(DataBlock block, Freed freed = Freed::given_back);
  // What was kept is as if it were freed now. Blocks that are not kept (any more) are passed over.
  void give_back(DataBlock begin, uint64_t count);

  // Index entries that flush() will put into the tree.
  uint64_t changes() const { return changes_; }
  // Brings the index tree up to date.
  Result<SpaceMapRoot> flush();
  // The state flushed is being committed; its number, for committed(). Blocks freed until now stay held till
  // then.
  uint64_t freeze();
  void committed(uint64_t state);

 private:
  // A bitmap that an earlier state refers to.
  struct Held {
    uint64_t state;  // needed until this is durable
    MetadataBlock bitmap{};
  };
  Result<BlockRef> bitmap(uint32_t index);
  Result<MutableBitmapView> own_bitmap(uint32_t index);
  struct Change {
    uint32_t before, after;
  };
  Result<Change> change(DataBlock block, int by);
  Result<void> hold(DataBlock block);
  Result<uint32_t> large_count(DataBlock block);
  Result<void> set_count(MutableBitmapView bitmap, DataBlock block, uint32_t before, uint32_t after);
  Result<std::optional<uint32_t>> find_in(uint32_t index, uint32_t from);
  Result<bool> was_free(uint32_t index, uint32_t entry);
  Result<bool> may_give_out(uint32_t index, uint32_t entry);
  uint32_t entries_of(uint32_t index) const;
  void mark_changed(uint32_t index);

  BlockStore& store_;
  Btree index_tree_, count_tree_;
  MetadataBlock index_root_{}, count_root_{};
  uint64_t blocks_ = 0, allocated_ = 0;
  uint64_t held_ = 0;  // blocks freed and not available yet
  std::vector<IndexEntry> index_;
  std::vector<bool> changed_;  // index entries that the tree has not
  uint64_t changes_ = 0;       // how many
  uint64_t search_from_ = 0;   // block
  uint64_t state_ = 1;         // of the running transaction
  std::multimap<uint32_t, Held> held_bitmaps_;
  // Freed in a state that is not durable. Of most blocks a held bitmap says that they are not to be given
  // out; the others are listed.
  struct FreedBlocks {
    uint64_t count = 0;
    BlockRanges listed;
  };
  std::map<uint64_t, FreedBlocks> freed_;  // by state
  BlockRanges kept_;
  uint64_t kept_count_ = 0;
};

}  // namespace karst::thin

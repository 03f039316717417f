// What the phases of a check share: the opened file system, what was seen so far, where findings go.
#pragma once
#include <atomic>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "btrfs/tool/check/allowance.h"
#include "btrfs/tool/check/block_table.h"
#include "btrfs/tool/check/findings.h"
#include "btrfs/tool/check/sketch.h"
#include "btrfs/tree/filesystem.h"
#include "core/progress.h"
#include "core/worker_pool.h"

namespace karst::btrfs::check {

// What the stock tool prints at its end. Counted by all threads, relaxed: nothing depends on it.
struct Statistics {
  std::atomic<uint64_t> bytes_used{0};  // of all extents
  std::atomic<uint64_t> csum_bytes{0};
  std::atomic<uint64_t> tree_bytes{0}, fs_tree_bytes{0}, extent_tree_bytes{0};
  std::atomic<uint64_t> wasted_bytes{0};  // in tree blocks
  std::atomic<uint64_t> data_allocated{0}, data_referenced{0};
};

// A root item, as far as the check needs it.
struct RootRecord {
  uint64_t id = 0, key_offset = 0;
  uint64_t directory = 0;  // the inode of its root directory
  BlockPointer block;
  uint32_t refs = 0;
  uint64_t flags = 0, last_snapshot = 0;
  Uuid uuid{}, received_uuid{};
  // A subvolume being deleted: what is below the key, at this level, is gone already.
  std::optional<Key> drop_progress;
  uint8_t drop_level = 0;

  bool is_reloc() const { return id == id::tree_reloc; }
  // Whether its items are files and directories to be checked as such.
  bool holds_files() const;
  // The first child of one of its nodes that a deletion in progress has not let go of yet. Above the level of
  // the deletion that is the child it is in, on it the one it goes on with.
  uint32_t first_kept_slot(const TreeBlock& node) const;
};

struct BlockGroupRecord {
  uint64_t start = 0, length = 0;
  uint64_t used = 0, flags = 0;
  uint64_t found_used = 0;  // by extents
};

struct State {
  const Filesystem& fs;
  Report& report;
  WorkerPool& pool;
  ProgressRef progress;
  size_t memory;        // bytes that exact passes may take for records
  Allowance allowance;  // for what is kept to the end

  const SketchKey key = SketchKey::random();
  BlockTable table;
  Statistics statistics;
  std::vector<RootRecord> roots;  // of the root tree, in its order; the tools' own trees included
  std::unordered_map<uint64_t, size_t> root_index;  // of each tree, the newest

  // Data extents that a log tree refers to, as [start, end); ascending.
  std::vector<std::pair<uint64_t, uint64_t>> log_extents;
  // Block group items and what of them is in use, by the pass over the extent tree; ascending.
  std::vector<BlockGroupRecord> block_groups;
  // Set by the pass over the extent tree (allocation.h).
  std::vector<uint64_t> partly_summed;  // data extents of which only a part has checksums; ascending
  uint64_t tree_blocks = 0;             // how many the extent tree has
  bool checksums_known = false;         // the whole checksum tree was read
  bool extents_known = false;           // and the whole extent tree

  BlockReader& blocks() const { return *fs.root_tree().blocks; }
  const Geometry& geometry() const { return fs.geometry(); }
  bool has_holes() const { return !fs.geometry().has(incompat::no_holes); }  // as items of their own
  Result<void> add_root(RootRecord record);
  const RootRecord* root(uint64_t id) const;  // the newest

  // Remembers a block that was read and verified, counts it, and reports what is wrong with it alone.
  void block_seen(const TreeBlock& block);
  uint64_t hash_key(const Key& first) const;
};

}  // namespace karst::btrfs::check

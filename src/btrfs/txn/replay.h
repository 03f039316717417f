// Replaying the log of one subvolume: its state, and the steps that work on it.
//
// A log tree holds copies of what an fsync had to keep: inode items, names by index, references back,
// attributes, file extents, and the checksums of their data. Items of the log replace those of the subvolume.
// What the log says of removals it says indirectly:
//   - it holds all attributes of an inode that is in it: others are gone
//   - DIR_LOG_INDEX items give the ranges of a directory's indexes that it holds whole: other entries there
//     are gone
//   - a reference item of the log holds all names of the inode in that directory
//   - a regular file's extents past its size are gone before its logged ones are laid over it
// An inode that is in the log only because something else there needs it has generation 0: one that exists
// already keeps its item. One with no links is left out with all its items: its names vanish as entries of
// its directories. Link counts are not replayed but counted anew in the end.
//
// The steps go over the whole log one after the other, since entries and references need their inodes:
//   inodes     attributes and entries that are gone; inode items; sizes        replay_inodes.cc,
//   replay_deletions.cc entries    names by index, of inodes that exist and have no logged reference
//   replay_entries.cc the rest   attributes, references, extents          replay_attributes,
//   replay_references.cc, replay_extents.cc links      counting link_counts.cc
// Source of the facts: Linux fs/btrfs/tree-log.c (6.18).
//
// One difference from Linux, on purpose: where Linux unlinks a name during the replay, it sets the times of
// the inode and its directory to the time of the mount. Here they stay what they were.
#pragma once
#include <set>

#include "btrfs/format/superblock.h"
#include "btrfs/txn/item_store.h"

namespace karst::btrfs {

struct Replay {
  ItemReader& log;
  ItemStore& items;      // the subvolume's
  ItemStore& checksums;  // the checksum tree's
  const Geometry& geometry;
  uint64_t transid = 0;           // of the transaction the replay is done in
  std::set<uint64_t> to_count{};  // inodes whose links are to be counted
};

// All of it. An error leaves the stores half changed.
Result<void> replay_subvolume(Replay& replay);

// The steps, each for one item of the log. `item` is not borrowed from the log or the stores.
Result<void> replay_inode(Replay& replay, const StoredItem& item);
Result<void> replay_entry(Replay& replay, const StoredItem& item);
Result<void> replay_attributes(Replay& replay, const StoredItem& item);
Result<void> replay_references(Replay& replay, const StoredItem& item);
Result<void> replay_file_extent(Replay& replay, const StoredItem& item);

// What the log says of removals, for an inode that is in it.
Result<void> remove_unlogged_attributes(Replay& replay, uint64_t inode);
Result<void> remove_unlogged_entries(Replay& replay, uint64_t directory);
// All entries of a directory.
Result<void> remove_all_entries(Replay& replay, uint64_t directory);
// One entry, whatever it leads to; an inode that loses its name so is to be counted.
Result<void> remove_entry_for_replay(Replay& replay, uint64_t directory, std::string_view name);

// Counts the links of the inodes in `to_count`. What has none left becomes an orphan, and a directory loses
// its entries before.
Result<void> count_links(Replay& replay);

}  // namespace karst::btrfs

// The structural checker: what a tree block must fulfil before anything uses it.
//
// verify_block() runs after every read, and later before every write: checksum, then that the block is the
// one its parent meant (address, file system, generation, level, owner, first key), then its structure:
// keys strictly ascending, items inside the leaf and not overlapping, and for every item type the rules in
// its row of the item table (item_table.h). The rules are at least those of Linux fs/btrfs/tree-checker.c,
// save that flags which an old kernel did not initialise may be anything (root.h). Our own beyond them,
// because what passes is exported and read without a second look:
//   - names of files hold no '/' and no NUL, and are neither empty nor "." or ".."; attribute names hold no
//   NUL
//   - items whose kind has a fixed size have it, also where Linux would find out later
//   - addresses and lengths do not wrap around
//   - an extent overlaps no other one in its leaf, also where references lie between their items
//   - a compressed extent is at most 128 KiB, before and after compression
//   - INODE_EXTREF keys are the hash of their names, and entries of directories lead to an inode or a
//   subvolume
//
// No rule allocates in proportion to what the block claims; each error names the rule (its kind), the block,
// the slot, the item's key, what was expected and found. Thread-safe: pure functions.
#pragma once
#include <optional>
#include <vector>

#include "btrfs/format/superblock.h"
#include "btrfs/format/tree_block.h"

namespace karst::btrfs {

// What the referrer knows of a block. Unset facts are not checked.
struct BlockExpectation {
  Logical bytenr{};
  std::optional<uint64_t> generation;
  std::optional<uint8_t> level;
  std::optional<uint64_t> owner;  // the root it was reached from; see owner_agrees()
  std::optional<Key> first_key;   // as the parent has it
};

namespace err {
extern const ErrorKind block_checksum;  // child of karst::err::checksum
extern const ErrorKind block_bytenr;    // misplaced block
extern const ErrorKind block_fsid;
extern const ErrorKind block_generation;  // "parent transid verify failed": stale or future block
extern const ErrorKind block_level;
extern const ErrorKind block_owner;
extern const ErrorKind block_first_key;
extern const ErrorKind block_nritems;
extern const ErrorKind block_flags;     // not marked as written
extern const ErrorKind block_empty;     // a leaf without items of a tree that always has some
extern const ErrorKind node_structure;  // parent of the next two
extern const ErrorKind node_key_order;
extern const ErrorKind node_pointer;    // null or not aligned
extern const ErrorKind leaf_structure;  // parent of the next two
extern const ErrorKind leaf_key_order;
extern const ErrorKind leaf_item_bounds;    // items overlapping, outside, or with gaps
extern const ErrorKind item_invalid;        // parent of all below, one kind per family of items
extern const ErrorKind item_inode;          // INODE_ITEM
extern const ErrorKind item_inode_missing;  // items of an inode that do not follow that inode's own
extern const ErrorKind item_inode_ref;      // INODE_REF, INODE_EXTREF
extern const ErrorKind item_dir;            // DIR_ITEM, DIR_INDEX
extern const ErrorKind item_xattr;          // XATTR_ITEM
extern const ErrorKind item_name;           // a name that no file can have
extern const ErrorKind item_name_hash;      // a key that is not the hash of the name in its item
extern const ErrorKind item_orphan;
extern const ErrorKind item_verity;
extern const ErrorKind item_dir_log;
extern const ErrorKind item_file_extent;
extern const ErrorKind item_file_extent_overlap;
extern const ErrorKind item_csum;
extern const ErrorKind item_csum_overlap;
extern const ErrorKind item_root;
extern const ErrorKind item_root_ref;
extern const ErrorKind item_extent;          // EXTENT_ITEM, METADATA_ITEM
extern const ErrorKind item_extent_overlap;  // BT-022
extern const ErrorKind item_backref;         // inline and keyed references
extern const ErrorKind item_block_group;
extern const ErrorKind item_free_space;
extern const ErrorKind item_chunk;
extern const ErrorKind item_dev;
extern const ErrorKind item_dev_extent;
extern const ErrorKind item_dev_extent_overlap;
extern const ErrorKind item_dev_stats;
extern const ErrorKind item_dev_replace;
extern const ErrorKind item_raid_stripe;
extern const ErrorKind item_qgroup;
extern const ErrorKind item_balance;
extern const ErrorKind item_uuid;
}  // namespace err

// `block` is nodesize bytes (verified).
Result<void> verify_block(Bytes block, const Geometry& geometry, const BlockExpectation& expected);

// The parts, for tools that go on after an error.
Result<void> check_block_checksum(Bytes block, const Geometry& geometry);
Result<void> check_block_identity(const TreeBlock& block, const Geometry& geometry,
                                  const BlockExpectation& expected);
Result<void> check_block_structure(const TreeBlock& block, const Geometry& geometry);

// An item of a leaf that breaks the rules of its type.
struct InvalidItem {
  uint32_t slot;
  const ErrorKind* kind;  // of err::item_invalid
};
// The invalid items of a leaf that is sound as a leaf (keys in order, items inside it), in order of slots;
// check_block_structure()'s error for one that is not, and for a node. Of two that overlap nobody knows which
// is wrong: both are named.
Result<std::vector<InvalidItem>> find_invalid_items(const TreeBlock& leaf, const Geometry& geometry);

// Whether a block recorded as allocated by `owner` may be reached from `root`: subvolumes share blocks
// with each other, no other tree does (BT-023). Relocation trees share the blocks of the subvolume that they
// relocate, so that anything agrees with them, as with root 0 (unknown).
bool owner_agrees(uint64_t owner, uint64_t root);

// One chunk item, in the chunk tree or the superblock's array. `item` is the Chunk with its stripes.
Result<void> check_chunk_item(Bytes item, uint64_t logical, const Geometry& geometry);

}  // namespace karst::btrfs

// Text of tree blocks and superblocks in the words and order of `btrfs inspect-internal dump-tree` and
// `dump-super` (btrfs-progs v6.19), and the same facts as JSON.
//
// Safe on any bytes: a block or superblock that is printed need not have passed a check. Where the stock
// tool would print what lies beyond an item that is too small, this says so instead. Which blocks of which
// trees are printed, and in which order, is the caller's business. Thread-safe: no state.
//
// JSON has whole-word keys, raw numbers, and null for a UUID of zeroes. Names that are no UTF-8 have their
// bytes a second time under "…_hex", the invalid ones in the text replaced by U+FFFD.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "btrfs/format/superblock.h"
#include "btrfs/format/tree_block.h"
#include "core/function_ref.h"

namespace karst::btrfs {

struct PrintOptions {
  bool hide_names = false;    // names of files and subvolumes, attributes and their values
  bool csum_headers = false;  // the checksum in each block's header
  bool csum_items = false;    // the checksums in EXTENT_CSUM items
};

// Receives the text, in pieces of any size.
using Sink = FunctionRef<void(std::string_view)>;

// A block's header and all its items or pointers. `block` has at least a header's bytes.
void print_block(const TreeBlock& block, const Geometry& geometry, const PrintOptions& options, Sink sink);
nlohmann::ordered_json block_to_json(const TreeBlock& block, const Geometry& geometry,
                                     const PrintOptions& options);

// `full`: with the system chunk array and the backup roots.
void print_superblock(const Superblock& super, bool full, Sink sink);
nlohmann::ordered_json superblock_to_json(const Superblock& super, bool full);

}  // namespace karst::btrfs

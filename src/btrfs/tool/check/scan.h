// The scan: every tree block that is reached from any root is read and verified once, whatever the number of
// snapshots, by all threads together and in no particular order.
//
// What a block says goes to the sinks as facts (facts.h), and the facts about files of a subvolume's leaf
// into the leaf's own sum in the block table. Children wait in a list that is taken from the end, so that the
// scan goes down before it goes on; it holds at most some nodes' children for each thread. Children that lie
// side by side are read together.
//
// A block that cannot be read, or is not what its parent means, is reported and what is below it left out.
#pragma once
#include <functional>
#include <memory>
#include <span>

#include "btrfs/tool/check/inode_facts.h"
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

struct ScanOptions {
  // Makes the sink of one thread; all outlive the scan.
  std::function<FactSink&()> make_sink;
  // The first scan fills the block table and reports; further ones only tell facts.
  bool first = true;
  bool references = true;  // whether pointers are facts; log trees have none
};

// From these roots. Errors are those of the machinery (memory); what is wrong with the image is reported.
Result<void> scan_trees(State& state, std::span<const RootRecord> roots, const ScanOptions& options);

// Adds up the sums of subvolumes' nodes, from the bottom, and compares every child with what its parent
// expects.
Result<void> sum_nodes(State& state);

}  // namespace karst::btrfs::check

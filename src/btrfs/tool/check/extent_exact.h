// Saying exactly what is wrong with extents where the sketches do not cancel.
#pragma once
#include "btrfs/tool/check/facts.h"
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

// The pointers that roots are: root items, and the superblock's. The block table learns of them too.
void tell_roots(State& state, FactSink& sink);

// Reads everything again, keeps the facts of the dirty buckets, and reports each extent whose facts do not
// agree. The memory it takes is bounded by state.memory: if there is more, some buckets at a time, until
// enough is listed.
Result<void> explain_extents(State& state, const BucketSketch::Dirty& references,
                             const BucketSketch::Dirty& checksums);

}  // namespace karst::btrfs::check

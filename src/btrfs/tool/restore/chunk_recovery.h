// Filling a volume's chunk map when the chunk tree has holes.
#pragma once
#include "btrfs/tool/restore/block_scan.h"
#include "btrfs/tree/block_reader.h"
#include "btrfs/tree/damage.h"

namespace karst::btrfs {

// Adds the chunks that the tree at `chunk_root` has, as far as it can be read, and that are not mapped yet.
// What is lost is noted in `damage`.
void load_chunk_tree(Volume& volume, cache::Cache& cache, const BlockPointer& chunk_root,
                     BlockTolerance tolerance, Damage& damage);

// Adds what leaves of the chunk tree say that are found without it: in the system chunks, and, if `needed` is
// then still not mapped, anywhere on the devices. The newest leaf counts.
Result<void> scan_for_chunks(Volume& volume, Logical needed, const BlockScanOptions& options);

}  // namespace karst::btrfs

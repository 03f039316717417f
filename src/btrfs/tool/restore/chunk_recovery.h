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

// Whether the chunks that are mapped take up what each device's superblock says is allocated on it.
bool chunk_map_is_complete(const Volume& volume);

// Adds what can be found without the chunk tree, the newest first: chunk items of its leaves in the system
// chunks; if that is not all, of leaves anywhere on the devices; and, for profiles without stripes, chunks
// put together from block group items and the device tree's extents.
Result<void> scan_for_chunks(Volume& volume, const BlockScanOptions& options);

}  // namespace karst::btrfs

// Filling a volume's chunk map when the chunk tree has holes.
#pragma once
#include "btrfs/tool/restore/block_scan.h"
#include "btrfs/tool/restore/stripe_order.h"
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
// chunks; if that is not all, of leaves anywhere on the devices; and chunks put together from block group
// items and the device tree's extents. The order of stripes is worked out from the tree blocks in them;
// chunks of data, which have none, are returned: their order is worked out once there is a checksum tree.
Result<std::vector<UnorderedChunk>> scan_for_chunks(Volume& volume, const BlockScanOptions& options);

// Adds those of the chunks whose order the checksums tell, and warns of the others. `checksums`: a cursor of
// the checksum tree.
void add_by_checksums(Volume& volume, const std::vector<UnorderedChunk>& chunks, Cursor& checksums);

}  // namespace karst::btrfs

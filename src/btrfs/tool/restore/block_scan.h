// Finding tree blocks without any tree that leads to them.
//
// A tree block names its file system, its own address, its tree, its generation and its level, and has a
// checksum: so whatever is one says so. Two ways to look: at the addresses of the chunks that hold metadata,
// each of whose copies is tried; or, without a map of chunks, at every sector of every device.
#pragma once
#include "btrfs/format/tree_block.h"
#include "btrfs/volume/volume.h"
#include "core/cancel.h"
#include "core/progress.h"

namespace karst::btrfs {

struct BlockScanOptions {
  CancelToken cancel;
  ProgressRef progress;  // bytes looked at
};

// A block whose checksum is right; its structure has not been checked. Borrowed for the call; an error ends
// the scan.
using BlockVisitor = FunctionRef<Result<void>(const TreeBlock&)>;

// The blocks in `bytes` that begin before `starts`, at sectors of it, whatever addresses they name.
Result<void> visit_blocks(Bytes bytes, uint64_t starts, const Geometry& geometry, BlockVisitor visit);
// In order of addresses, each block once. What cannot be read is passed over.
Result<void> scan_chunks(const Volume& volume, uint64_t block_group_types, const BlockScanOptions& options,
                         BlockVisitor visit);
// In order of devices and offsets; copies of a block come more than once.
Result<void> scan_devices(const Volume& volume, const BlockScanOptions& options, BlockVisitor visit);

}  // namespace karst::btrfs

// What all blocks of the metadata device have in common: 4096 bytes that begin with a checksum and say which
// block they are.
//
// The checksum is the kernel's crc32c (seed ~0, nothing inverted at the end) over all bytes after it,
// xor-ed with a number for each kind, so that a block of one kind is not taken for another.
// Source: Linux drivers/md/persistent-data/dm-block-manager.c (dm_bm_checksum), dm-btree-spine.c,
// dm-space-map-common.c and dm-thin-metadata.c (the numbers).
#pragma once
#include <cstdint>

#include "core/bytes.h"
#include "core/endian.h"
#include "core/result.h"
#include "thin/format/ids.h"

namespace karst::thin {

enum class BlockKind : uint8_t { superblock, node, index, bitmap };
const char* name_of(BlockKind kind);

// The checksum that the block should have.
uint32_t block_checksum(BlockKind kind, Bytes block);

// Writes block number and checksum into the block; all else is as it will be on the device.
void seal_block(BlockKind kind, MetadataBlock number, MutableBytes block);

// Checksum and block number, as the kernel compares them before it uses a block. err::block_checksum,
// err::block_number.
Result<void> check_seal(BlockKind kind, MetadataBlock number, Bytes block);

// The kind whose checksum the block has, for whoever looks for lost blocks; false if it has not this one's.
bool has_seal(BlockKind kind, Bytes block);

}  // namespace karst::thin

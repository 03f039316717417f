#include "thin/format/block.h"

#include "core/assert.h"
#include "core/checksum.h"
#include "thin/format/errors.h"

namespace karst::thin {
namespace {

// Every kind has its number at the same place.
constexpr size_t number_at = 8;

constexpr uint32_t salt_of(BlockKind kind) {
  switch (kind) {
    case BlockKind::superblock: return 160774;
    case BlockKind::node: return 121107;
    case BlockKind::index: return 160478;
    case BlockKind::bitmap: return 240779;
  }
  return 0;
}

}  // namespace

const char* name_of(BlockKind kind) {
  switch (kind) {
    case BlockKind::superblock: return "superblock";
    case BlockKind::node: return "btree node";
    case BlockKind::index: return "space map index";
    case BlockKind::bitmap: return "space map bitmap";
  }
  return "";
}

uint32_t block_checksum(BlockKind kind, Bytes block) {
  return crc32c(~0u, block.subspan(sizeof(le32))) ^ salt_of(kind);
}

void seal_block(BlockKind kind, MetadataBlock number, MutableBytes block) {
  VERIFY(block.size() == metadata_block_size);
  *reinterpret_cast<le64*>(block.data() + number_at) = raw(number);
  *reinterpret_cast<le32*>(block.data()) = block_checksum(kind, block);
}

bool has_seal(BlockKind kind, Bytes block) { return *overlay<le32>(block) == block_checksum(kind, block); }

Result<void> check_seal(BlockKind kind, MetadataBlock number, Bytes block) {
  VERIFY(block.size() == metadata_block_size);
  const uint64_t found = *overlay<le64>(block, number_at);
  if (!has_seal(kind, block))
    return Error(err::block_checksum, fmt::format("checksum of a {} is wrong", name_of(kind)))
        .at("block", number)
        .expected(fmt::format("{:#010x}", block_checksum(kind, block)),
                  fmt::format("{:#010x}", overlay<le32>(block)->value()));
  if (found != raw(number))
    return Error(err::block_number, fmt::format("a {} is of another place", name_of(kind)))
        .at("block", number)
        .expected(number, found);
  return {};
}

}  // namespace karst::thin

#include "btrfs/format/backref.h"

#include "core/checksum.h"

namespace karst::btrfs {

uint32_t inline_ref_size(ItemType type) {
  switch (type) {
    case ItemType::tree_block_ref:
    case ItemType::shared_block_ref:
    case ItemType::extent_owner_ref: return sizeof(InlineRef);
    case ItemType::shared_data_ref: return sizeof(InlineRef) + sizeof(SharedDataRef);
    case ItemType::extent_data_ref: return sizeof(uint8_t) + sizeof(ExtentDataRef);
    default: return 0;
  }
}

// Source: Linux fs/btrfs/extent-tree.c, hash_extent_data_ref(): two CRCs, the first shifted by 31 bits.
uint64_t extent_data_ref_hash(uint64_t root, uint64_t objectid, uint64_t offset) {
  struct Low {
    le64 objectid;
    le64 offset;
  };
  uint32_t high = crc32c(~0u, bytes_of(le64(root)));
  uint32_t low = crc32c(~0u, bytes_of(Low{objectid, offset}));
  return (uint64_t{high} << 31) ^ low;
}

std::optional<InlineReference> read_inline_ref(Bytes bytes) {
  if (bytes.empty()) return std::nullopt;
  InlineReference ref;
  ref.type = ItemType(std::to_integer<uint8_t>(bytes[0]));
  ref.size = inline_ref_size(ref.type);
  if (ref.size == 0 || ref.size > bytes.size()) return std::nullopt;
  if (ref.type == ItemType::extent_data_ref) {
    const auto& data = *overlay<ExtentDataRef>(bytes, 1);
    ref.root = ref.offset = data.root;
    ref.objectid = data.objectid;
    ref.file_offset = data.offset;
    ref.count = data.count;
    ref.sequence = extent_data_ref_hash(ref.root, ref.objectid, ref.file_offset);
    return ref;
  }
  ref.offset = ref.sequence = overlay<InlineRef>(bytes)->offset;
  if (ref.type == ItemType::shared_data_ref)
    ref.count = overlay<SharedDataRef>(bytes, sizeof(InlineRef))->count;
  if (ref.type == ItemType::tree_block_ref || ref.type == ItemType::extent_owner_ref) ref.root = ref.offset;
  return ref;
}

}  // namespace karst::btrfs

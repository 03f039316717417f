#include "btrfs/tree/bulk_tree.h"

namespace karst::btrfs {

BulkTree::BulkTree(const BlockStamp& stamp, uint64_t owner, BlockSink& sink)
    : stamp_(stamp), owner_(owner), sink_(sink) {
  levels_.reserve(max_level);
  begin(levels_.emplace_back());
}

void BulkTree::begin(Level& level) const {
  // All of it, so that no byte of an earlier block is written again (CO-009).
  level.bytes.assign(stamp_.geometry.nodesize, std::byte{0});
  level.count = 0;
  level.data_start = stamp_.geometry.nodesize - sizeof(Header);
}

Result<MutableBytes> BulkTree::append(const Key& key, size_t size) {
  if (blocks_ + levels_[0].count > 0 && key <= last_key_)
    return Error(karst::err::invalid, "items of a tree not in order")
        .expected(fmt::format("above {}", last_key_), key)
        .at("tree", root_name(owner_));
  if (size > max_item_size(stamp_.geometry.nodesize))
    return Error(karst::err::invalid, "item too large for a leaf")
        .expected(fmt::format("at most {}", max_item_size(stamp_.geometry.nodesize)), size)
        .at("key", key)
        .at("tree", root_name(owner_));
  Level* leaf = &levels_[0];
  if (uint64_t{leaf->count + 1} * sizeof(Item) + size > leaf->data_start) {
    TRY(close(0));
    leaf = &levels_[0];
  }
  leaf->data_start -= static_cast<uint32_t>(size);
  Item item{DiskKey::from(key), leaf->data_start, static_cast<uint32_t>(size)};
  std::memcpy(leaf->bytes.data() + sizeof(Header) + leaf->count * sizeof(Item), &item, sizeof item);
  ++leaf->count;
  last_key_ = key;
  return MutableBytes(leaf->bytes).subspan(sizeof(Header) + leaf->data_start, size);
}

Result<void> BulkTree::add(const Key& key, std::initializer_list<Bytes> pieces) {
  size_t size = 0;
  for (Bytes piece : pieces) size += piece.size();
  MutableBytes room = TRY(append(key, size));
  for (Bytes piece : pieces) {
    std::copy(piece.begin(), piece.end(), room.begin());
    room = room.subspan(piece.size());
  }
  return {};
}

Key BulkTree::first_key(uint8_t level) const {
  // An Item and a KeyPtr both begin with the key.
  return overlay<DiskKey>(levels_[level].bytes, sizeof(Header))->key();
}

// Gives the block an address, writes it, and empties the level. The caller has counted its items.
Result<Logical> BulkTree::write_block(uint8_t level) {
  Level& full = levels_[level];
  const Geometry& geometry = stamp_.geometry;
  Logical address = TRY(sink_.allocate());
  Header header{};
  header.fsid = geometry.metadata_uuid;
  header.bytenr = raw(address);
  header.flags = header_flag_written | (uint64_t{1} << header_backref_rev_shift);
  header.chunk_tree_uuid = stamp_.chunk_tree_uuid;
  header.generation = geometry.generation;
  header.owner = owner_;
  header.nritems = full.count;
  header.level = level;
  std::memcpy(full.bytes.data(), &header, sizeof header);
  TreeBlock block(full.bytes);
  TRY(check_block_structure(block, geometry));
  Checksum sum = compute_checksum(geometry.checksum_type, Bytes(full.bytes).subspan(checksum_field_size));
  std::memcpy(full.bytes.data(), sum.bytes.data(), sum.bytes.size());
  TRY(sink_.write(block));
  ++blocks_;
  return address;
}

// Writes the block of a level that is full, and has the level above point to it.
Result<void> BulkTree::close(uint8_t level) {
  Key first = first_key(level);
  Logical address = TRY(write_block(level));
  begin(levels_[level]);
  return point_to(level + 1, first, address);
}

Result<void> BulkTree::point_to(uint8_t level, const Key& first, Logical child) {
  if (level >= max_level) return Error(karst::err::limit, "tree too high").at("tree", root_name(owner_));
  if (level == levels_.size()) begin(levels_.emplace_back());
  if (levels_[level].count == max_key_ptrs(stamp_.geometry.nodesize)) TRY(close(level));
  Level& node = levels_[level];
  KeyPtr pointer{DiskKey::from(first), raw(child), stamp_.geometry.generation};
  std::memcpy(node.bytes.data() + sizeof(Header) + node.count * sizeof(KeyPtr), &pointer, sizeof pointer);
  ++node.count;
  return {};
}

Result<TreeRoot> BulkTree::finish() {
  // The top level is never empty but in an empty tree; what is below it is closed from the leaf upward.
  for (uint8_t level = 0; level + 1u < levels_.size(); ++level)
    if (levels_[level].count > 0) TRY(close(level));
  auto top = static_cast<uint8_t>(levels_.size() - 1);
  Logical address = TRY(write_block(top));
  return TreeRoot{address, top, blocks_};
}

}  // namespace karst::btrfs

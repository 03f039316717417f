#include "thin/tool/leak_repair.h"

#include <algorithm>

#include "thin/format/block.h"
#include "thin/format/errors.h"
#include "thin/metadata/tree_walk.h"

namespace karst::thin {
namespace {

class LeakRepair {
 public:
  LeakRepair(TreeScan& scan, const SpaceCheck& space, SpaceCheck::Of of)
      : device_(scan.device()),
        uses_(of == SpaceCheck::Of::data ? scan.data_uses() : scan.metadata_uses()),
        root_(space.root()),
        index_(space.index()) {}

  Result<void> repair_bitmap(uint32_t i);
  Result<void> write_metadata_index();
  Result<void> write_data_index(MetadataBlock node, unsigned depth);
  const SpaceMapRoot& root() const { return root_; }

 private:
  Result<void> read(BlockKind kind, MetadataBlock number) {
    TRY(device_.read(raw(number) * metadata_block_size, block_));
    return check_seal(kind, number, block_);
  }
  Result<void> write(BlockKind kind, MetadataBlock number) {
    seal_block(kind, number, block_);
    return device_.write(raw(number) * metadata_block_size, block_);
  }

  block::Device& device_;
  const UseCounts& uses_;
  SpaceMapRoot root_;
  std::vector<IndexEntry> index_;
  std::vector<std::byte> block_ = std::vector<std::byte>(metadata_block_size);
};

Result<void> LeakRepair::repair_bitmap(uint32_t i) {
  const MetadataBlock number{index_[i].blocknr.value()};
  TRY(read(BlockKind::bitmap, number));
  MutableBitmapView bitmap(block_);
  const uint64_t base = uint64_t{i} * bitmap_entries;
  const auto end = static_cast<uint32_t>(std::min<uint64_t>(bitmap_entries, uses_.blocks() - base));
  uint32_t freed = 0;
  for (uint32_t entry = 0; entry < end; ++entry) {
    const uint32_t bits = bitmap.get(entry), used = uses_.count(base + entry);
    if (bits >= count_in_tree || bits <= used) continue;
    bitmap.set(entry, used);
    freed += used == 0;
  }
  root_.nr_allocated -= freed;
  index_[i].nr_free += freed;
  index_[i].none_free_before = bitmap.find_free(0, bitmap_entries);
  return write(BlockKind::bitmap, number);
}

Result<void> LeakRepair::write_metadata_index() {
  const MetadataBlock number{root_.bitmap_root.value()};
  TRY(read(BlockKind::index, number));
  std::ranges::copy(index_, reinterpret_cast<MetadataIndex*>(block_.data())->entries.begin());
  return write(BlockKind::index, number);
}

Result<void> LeakRepair::write_data_index(MetadataBlock number, unsigned depth) {
  TRY(read(BlockKind::node, number));
  std::vector<std::byte> copy = block_;
  MutableNode node(copy);
  if (!node.is_leaf()) {
    if (depth == 0) return Error(err::node_bounds, "tree deeper than any can be");
    for (uint32_t i = 0; i < node.size(); ++i) TRY(write_data_index(node.child(i), depth - 1));
    return {};
  }
  for (uint32_t i = 0; i < node.size(); ++i) node.set_value(i, bytes_of(index_[node.key(i)]));
  block_ = std::move(copy);
  return write(BlockKind::node, number);
}

}  // namespace

Result<SpaceMapRoot> repair_leaks(TreeScan& scan, const SpaceCheck& space, SpaceCheck::Of of) {
  LeakRepair repair(scan, space, of);
  for (const uint32_t i : space.leaky_bitmaps()) TRY(repair.repair_bitmap(i));
  if (of == SpaceCheck::Of::metadata)
    TRY(repair.write_metadata_index());
  else
    TRY(repair.write_data_index(MetadataBlock{space.root().bitmap_root.value()}, 16));
  return repair.root();
}

}  // namespace karst::thin

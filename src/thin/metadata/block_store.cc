#include "thin/metadata/block_store.h"

#include <algorithm>

#include "thin/format/errors.h"

namespace karst::thin {
namespace {

constexpr size_t blocks_per_write = 128;  // 512 KiB

}  // namespace

BlockStore::BlockStore(block::Device& device, cache::Cache& cache, uint64_t nr_blocks)
    : device_(device),
      cache_(cache),
      dirty_limit_(std::max<size_t>(cache.statistics().limit / metadata_block_size / 4, 256)),
      counts_(nr_blocks) {
  add_objects();
}

BlockStore::~BlockStore() {
  dirty_.clear();
  remove_objects();
}

void BlockStore::add_objects() {
  for (cache::ObjectId& object : objects_) object = cache_.new_object();
}
void BlockStore::remove_objects() {
  for (const cache::ObjectId object : objects_) cache_.remove_object(object);
}

Result<void> BlockStore::read_raw(MetadataBlock number, MutableBytes into) const {
  return device_.read(raw(number) * metadata_block_size, into.first(metadata_block_size));
}

Result<cache::FolioRef> BlockStore::get(BlockKind kind, MetadataBlock number, uint32_t value_size) {
  const cache::FolioKey key = key_of(kind, number);
  if (cache::FolioRef hit = cache_.find(key)) return hit;
  if (raw(number) >= nr_blocks() || number == MetadataBlock{0})
    return Error(err::node_bounds, "a metadata block outside of the device is referred to")
        .at("device", device_.name())
        .expected(fmt::format("1 to {}", nr_blocks() - 1), number);
  auto fill = [&](MutableBytes bytes) -> Result<void> {
    TRY(read_raw(number, bytes));
    TRY(check_seal(kind, number, bytes));
    if (kind == BlockKind::node) TRY(check_node(NodeView(bytes), {value_size, nr_blocks()}));
    return {};
  };
  auto filled = cache_.get(key, metadata_block_size, cache::Residence::always_mapped, fill);
  if (!filled) return std::move(filled).error().at("block", number).at("device", device_.name());
  return std::move(*filled);
}

Result<BlockRef> BlockStore::read(BlockKind kind, MetadataBlock number) {
  return BlockRef(TRY(get(kind, number, 0)));
}

Result<BlockRef> BlockStore::read_node(MetadataBlock number, uint32_t value_size) {
  BlockRef block(TRY(get(BlockKind::node, number, value_size)));
  // It may be cached for another tree.
  const NodeView node = block.node();
  if (node.is_leaf() && node.value_size() != value_size)
    return Error(err::node_entries, "node of another tree")
        .at("block", number)
        .at("device", device_.name())
        .expected(value_size, node.value_size());
  return block;
}

Result<cache::FolioRef> BlockStore::publish(BlockKind kind, cache::NewFolio folio) {
  const MetadataBlock number{folio.key().index};
  cache_.invalidate(folio.key().object, raw(number), raw(number) + 1);
  cache::FolioRef published = cache_.publish(std::move(folio));
  dirty_[raw(number)] = {number, kind, published};
  return published;
}

Result<BlockStore::Writable> BlockStore::create(BlockKind kind) {
  const MetadataBlock number = TRY(counts_.allocate());
  auto folio = cache_.allocate(key_of(kind, number), metadata_block_size, cache::Residence::always_mapped);
  if (!folio) {
    TRY(counts_.release(number));
    return std::move(folio).error();
  }
  std::ranges::fill(folio->bytes(), std::byte{0});
  return Writable{number, TRY(publish(kind, std::move(*folio))).mutable_bytes(), false};
}

Result<BlockStore::Writable> BlockStore::shadow(BlockKind kind, MetadataBlock number, uint32_t value_size) {
  if (counts_.is_fresh(number) && counts_.count(number) == 1) {
    if (const auto found = dirty_.find(raw(number)); found != dirty_.end())
      return Writable{number, found->second.folio.mutable_bytes(), false};
    cache::FolioRef folio = TRY(get(kind, number, value_size));  // written early
    dirty_[raw(number)] = {number, kind, folio};
    return Writable{number, folio.mutable_bytes(), false};
  }
  const cache::FolioRef old = TRY(get(kind, number, value_size));
  Writable copy = TRY(create(kind));
  std::ranges::copy(old.bytes(), copy.bytes.begin());
  copy.was_shared = !TRY(release(number));
  return copy;
}

Result<BlockStore::Writable> BlockStore::shadow(BlockKind kind, MetadataBlock number) {
  return shadow(kind, number, 0);
}
Result<BlockStore::Writable> BlockStore::shadow_node(MetadataBlock number, uint32_t value_size) {
  return shadow(BlockKind::node, number, value_size);
}

Result<bool> BlockStore::release(MetadataBlock number) {
  const bool last = TRY(counts_.release(number));
  if (last) dirty_.erase(raw(number));
  return last;
}

Result<void> BlockStore::balance() {
  if (dirty_.size() <= dirty_limit_) return {};
  std::vector<Dirty> blocks;
  blocks.reserve(dirty_.size());
  for (auto& [number, dirty] : dirty_) blocks.push_back(dirty);
  seal(blocks);
  TRY(write(blocks));
  dirty_.clear();
  return {};
}

BlockStore::Frozen BlockStore::freeze() {
  Frozen frozen;
  frozen.blocks.reserve(dirty_.size());
  for (auto& [number, dirty] : dirty_) frozen.blocks.push_back(std::move(dirty));
  dirty_.clear();
  seal(frozen.blocks);
  frozen.leaving = counts_.freeze();
  return frozen;
}

void BlockStore::seal(std::vector<Dirty>& blocks) {
  std::ranges::sort(blocks, {}, &Dirty::number);
  for (Dirty& dirty : blocks) seal_block(dirty.kind, dirty.number, dirty.folio.mutable_bytes());
}

Result<void> BlockStore::write(const std::vector<Dirty>& blocks) const {
  struct Piece {
    std::vector<iovec> buffers;
    block::IoRequest request;
  };
  std::vector<Piece> pieces;
  uint64_t next = 0;
  for (const Dirty& dirty : blocks) {
    if (pieces.empty() || raw(dirty.number) != next || pieces.back().buffers.size() == blocks_per_write)
      pieces.push_back({{}, {.op = block::IoOp::write, .offset = raw(dirty.number) * metadata_block_size}});
    pieces.back().buffers.push_back({dirty.folio.mutable_bytes().data(), metadata_block_size});
    next = raw(dirty.number) + 1;
  }
  const auto queue = block::make_queue(32);
  for (Piece& piece : pieces) {
    piece.request.buffers = piece.buffers;
    piece.request.length = piece.buffers.size() * metadata_block_size;
    queue->submit(device_, piece.request);
  }
  Result<void> outcome;
  while (block::IoRequest* done = queue->reap())
    if (outcome && !*done->outcome) outcome = std::move(*done->outcome);
  return outcome;
}

void BlockStore::forget() {
  dirty_.clear();
  remove_objects();
  add_objects();
}

}  // namespace karst::thin

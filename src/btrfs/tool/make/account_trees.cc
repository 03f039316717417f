// The trees of a new file system that account for its space, themselves included.
#include "btrfs/format/inode_mode.h"
#include "btrfs/format/object_ids.h"
#include "btrfs/tool/make/image_writer.h"
#include "btrfs/tool/make/references.h"
#include "core/assert.h"

namespace karst::btrfs {
namespace {

// The beginning of a list of records, which may grow meanwhile, and then all of another.
class Records {
 public:
  Records(const std::vector<BlockRecord>& first, size_t count, const std::vector<BlockRecord>& second)
      : first_(first), count_(count), second_(second) {}
  std::optional<BlockRecord> peek() const {
    if (at_ < count_) return first_[at_];
    if (at_ - count_ < second_.size()) return second_[at_ - count_];
    return {};
  }
  void pop() { ++at_; }

 private:
  const std::vector<BlockRecord>& first_;
  const size_t count_;
  const std::vector<BlockRecord>& second_;
  size_t at_ = 0;
};

BlockGroupItem block_group_item(const PlacedChunk& placed) {
  return {placed.used, id::first_chunk_tree, placed.chunk.type};
}
Key block_group_key(const PlacedChunk& placed) {
  return {placed.chunk.logical, ItemType::block_group_item, placed.chunk.length};
}

}  // namespace

Result<DataUse> ImageWriter::data_use(const std::vector<ChunkEntry>& chunks) const {
  DataUse use;
  use.chunks.resize(chunks.size());
  size_t n = 0;
  uint64_t next = chunks.empty() ? 0 : chunks[0].logical;  // of the n-th chunk, what is settled
  auto free_until = [&](uint64_t address) {
    if (next < address) use.chunks[n].free.push_back({next, address - next});
    next = address;
  };
  ExtentReferences extents = references();
  while (TRY(extents.next())) {
    while (!chunks[n].contains(extents.address())) {
      free_until(chunks[n].end());
      next = chunks[++n].logical;
    }
    free_until(extents.address());
    next = extents.end();
    use.chunks[n].used += extents.length();
  }
  for (; n < chunks.size(); ++n) {
    next = std::max(next, chunks[n].logical);
    free_until(chunks[n].end());
  }
  return use;
}

// Places the chunks of tree blocks for those written and so many more.
Result<MakeLayout> ImageWriter::plan(const std::vector<ChunkEntry>& data_chunks, const DataUse& use,
                                     uint64_t later_blocks) {
  MakeLayout layout{space_, {}, {}, {}};
  for (size_t i = 0; i < data_chunks.size(); ++i)
    layout.chunks.push_back({data_chunks[i], i, 0, use.chunks[i].used});

  const uint64_t type =
      block_group::metadata | *options_.metadata_profile | (options_.mixed() ? block_group::data : 0);
  const uint64_t blocks = metadata_.count() + later_blocks, bytes = blocks * options_.nodesize;
  const uint64_t wanted = std::max(bytes + options_.metadata_spare, options_.metadata_least);
  uint64_t filled = bytes;
  for (DataSpace::Run range : metadata_.ranges(blocks, wanted - bytes)) {
    while (range.length > 0) {
      auto chunk = layout.space.allocate_bytes(range.address, type, 1 << 20, range.length);
      // Room that is not needed for blocks is left out where there is none.
      if (!chunk && filled == 0) break;
      if (!chunk) return std::move(chunk).error();
      // A chunk may end behind the range, since its stripes are multiples of 64 KiB; blocks do not.
      const uint64_t fill = std::min({filled, chunk->length, range.length});
      filled -= fill;
      range.address += chunk->length;
      range.length -= std::min(range.length, chunk->length);
      layout.chunks.push_back({std::move(*chunk), {}, fill, fill});
    }
  }
  layout.chunks.push_back({system_chunk_, {}, 0, 0});
  std::sort(layout.chunks.begin(), layout.chunks.end(),
            [](const PlacedChunk& a, const PlacedChunk& b) { return a.chunk.logical < b.chunk.logical; });

  // The chunk tree fills the system chunk from its start.
  class SystemPrediction final : public BlockSink {
   public:
    SystemPrediction(const ChunkEntry& chunk, std::vector<BlockRecord>& records)
        : next_(chunk.logical), end_(chunk.end()), records_(records) {}
    Result<Logical> allocate() override { return Logical(next_); }
    Result<void> write(const TreeBlock& block) override {
      if (block.nodesize() > end_ - next_)
        return Error(karst::err::no_space, "more chunks than the system chunk can hold");
      next_ += block.nodesize();
      records_.push_back({block.bytenr(), block.owner(), block.level(), block.key(0)});
      return {};
    }

   private:
    uint64_t next_;
    const uint64_t end_;
    std::vector<BlockRecord>& records_;
  } system(system_chunk_, layout.chunk_blocks);
  layout.chunk_root = TRY(write_chunk_tree(layout, system));
  for (PlacedChunk& placed : layout.chunks)
    if (is_system(placed.chunk)) placed.filled = placed.used = layout.chunk_root.blocks * options_.nodesize;
  return layout;
}

DevItem ImageWriter::device_item(size_t n, const DeviceSpace& space) const {
  DevItem item{};
  item.devid = members_[n].devid;
  item.total_bytes = device_size(n, space);
  item.bytes_used = space.used(members_[n].devid);
  item.io_align = item.io_width = item.sector_size = options_.sectorsize;
  item.uuid = members_[n].uuid;
  item.fsid = fsid_;
  return item;
}

Result<TreeRoot> ImageWriter::write_chunk_tree(const MakeLayout& layout, BlockSink& sink) const {
  BulkTree tree(stamp_, id::chunk_tree, sink);
  for (size_t i = 0; i < members_.size(); ++i)
    TRY(tree.add({id::dev_items, ItemType::dev_item, members_[i].devid},
                 bytes_of(device_item(i, layout.space))));
  for (const PlacedChunk& placed : layout.chunks)
    TRY(tree.add({id::first_chunk_tree, ItemType::chunk_item, placed.chunk.logical}, item_of(placed.chunk)));
  return tree.finish();
}

Result<ImageWriter::LateRoots> ImageWriter::write_late_trees(BlockSink& sink, const MakeLayout& layout,
                                                             const DataUse& use,
                                                             const std::vector<BlockRecord>& later) {
  LateRoots roots;
  roots.trees[id::dev_tree] = TRY(write_device_tree(sink, layout));
  if (options_.compat_ro & compat_ro::free_space_tree)
    roots.trees[id::free_space_tree] = TRY(write_free_space_tree(sink, layout, use));
  if (options_.compat_ro & compat_ro::block_group_tree)
    roots.trees[id::block_group_tree] = TRY(write_block_group_tree(sink, layout));
  roots.trees[id::extent_tree] = TRY(write_extent_tree(sink, layout, later));
  roots.root_tree = TRY(write_root_tree(sink, roots));
  return roots;
}

Result<TreeRoot> ImageWriter::write_device_tree(BlockSink& sink, const MakeLayout& layout) const {
  std::map<Key, DevExtent> extents;
  for (const PlacedChunk& placed : layout.chunks)
    for (const ChunkStripe& stripe : placed.chunk.stripes)
      extents[{stripe.devid, ItemType::dev_extent, stripe.offset}] = {
          id::chunk_tree, id::first_chunk_tree, placed.chunk.logical, placed.chunk.stripe_size(),
          stamp_.chunk_tree_uuid};
  BulkTree tree(stamp_, id::dev_tree, sink);
  for (const auto& [key, extent] : extents) TRY(tree.add(key, bytes_of(extent)));
  return tree.finish();
}

Result<TreeRoot> ImageWriter::write_free_space_tree(BlockSink& sink, const MakeLayout& layout,
                                                    const DataUse& use) const {
  BulkTree tree(stamp_, id::free_space_tree, sink);
  for (const PlacedChunk& placed : layout.chunks) {
    const ChunkEntry& chunk = placed.chunk;
    std::vector<DataSpace::Run> tail;
    const std::vector<DataSpace::Run>* free = &tail;
    if (placed.data)
      free = &use.chunks[*placed.data].free;
    else if (placed.filled < chunk.length)
      tail.push_back({chunk.logical + placed.filled, chunk.length - placed.filled});
    TRY(tree.add({chunk.logical, ItemType::free_space_info, chunk.length},
                 bytes_of(FreeSpaceInfo{static_cast<uint32_t>(free->size()), 0})));
    for (const DataSpace::Run& run : *free)
      TRY(tree.add({run.address, ItemType::free_space_extent, run.length}));
  }
  return tree.finish();
}

Result<TreeRoot> ImageWriter::write_block_group_tree(BlockSink& sink, const MakeLayout& layout) const {
  BulkTree tree(stamp_, id::block_group_tree, sink);
  for (const PlacedChunk& placed : layout.chunks)
    TRY(tree.add(block_group_key(placed), bytes_of(block_group_item(placed))));
  return tree.finish();
}

// Data extents, tree blocks and block groups, all in the order of addresses.
Result<TreeRoot> ImageWriter::write_extent_tree(BlockSink& sink, const MakeLayout& layout,
                                                const std::vector<BlockRecord>& later) const {
  BulkTree tree(stamp_, id::extent_tree, sink);
  auto group = layout.chunks.begin();
  const auto last_group =
      (options_.compat_ro & compat_ro::block_group_tree) ? layout.chunks.begin() : layout.chunks.end();
  auto add = [&](const Key& key, Bytes data) -> Result<void> {
    for (; group != last_group && block_group_key(*group) < key; ++group)
      TRY(tree.add(block_group_key(*group), bytes_of(block_group_item(*group))));
    return tree.add(key, data);
  };

  // The trees of this file follow those that were there before them, as they were predicted.
  const std::vector<BlockRecord> none;
  Records system(layout.chunk_blocks, layout.chunk_blocks.size(), none);
  Records blocks(metadata_.records(), content_blocks_, later);
  auto shared = shared_blocks_.begin();
  ExtentReferences extents = references();
  bool more = TRY(extents.next());
  std::vector<uint64_t> owners;
  for (;;) {
    const std::optional<BlockRecord> from_system = system.peek();
    std::optional<BlockRecord> block = blocks.peek();
    Records* of = &blocks;
    if (from_system && (!block || from_system->bytenr < block->bytenr)) {
      block = from_system;
      of = &system;
    }
    if (more && (!block || extents.address() < block->bytenr)) {
      TRY(data_extent_items(
          {extents.address(), extents.length(), generation(), extents.count()},
          [&](auto each) { return extents.for_each(each); }, options_.nodesize, add));
      more = TRY(extents.next());
      continue;
    }
    if (!block) break;
    owners.assign(1, block->owner);
    for (; shared != shared_blocks_.end() && shared->first <= block->bytenr; ++shared)
      if (shared->first == block->bytenr) owners.push_back(shared->second);
    TRY(tree_extent_items({block->bytenr, block->level, block->first_key}, generation(), owners,
                          options_.nodesize, options_.has(incompat::skinny_metadata), add));
    of->pop();
  }
  for (; group != last_group; ++group)
    TRY(tree.add(block_group_key(*group), bytes_of(block_group_item(*group))));
  return tree.finish();
}

Result<TreeRoot> ImageWriter::write_root_tree(BlockSink& sink, const LateRoots& roots) const {
  auto items = root_items_;
  auto put = [&](const Key& key, std::initializer_list<Bytes> pieces) {
    for (Bytes piece : pieces) items[key].insert(items[key].end(), piece.begin(), piece.end());
  };
  for (const auto& [id, root] : roots.trees) put({id, ItemType::root_item, 0}, {bytes_of(root_item(root))});

  // The directory of the root tree: its one entry names the default subvolume.
  constexpr std::string_view name = "default";
  InodeItem inode{};
  inode.generation = generation();
  inode.nbytes = options_.nodesize;
  inode.nlink = 1;
  inode.mode = mode::directory | 0755;
  inode.atime = inode.ctime = inode.mtime = inode.otime = {options_.time, 0};
  put({id::root_tree_dir, ItemType::inode_item, 0}, {bytes_of(inode)});
  put({id::root_tree_dir, ItemType::inode_ref, id::root_tree_dir},
      {bytes_of(InodeRef{0, 2}), as_bytes("..")});
  DirItem entry{DiskKey::from({default_subvolume_, ItemType::root_item, ~0ull}), 0, 0,
                static_cast<uint16_t>(name.size()), static_cast<uint8_t>(FileType::directory)};
  put({id::root_tree_dir, ItemType::dir_item, name_hash(name)}, {bytes_of(entry), as_bytes(name)});
  put({id::fs_tree, ItemType::inode_ref, id::root_tree_dir},
      {bytes_of(InodeRef{0, static_cast<uint16_t>(name.size())}), as_bytes(name)});

  BulkTree tree(stamp_, id::root_tree, sink);
  for (const auto& [key, item] : items) TRY(tree.add(key, item));
  return tree.finish();
}

}  // namespace karst::btrfs

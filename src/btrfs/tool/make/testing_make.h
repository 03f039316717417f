// File systems made on devices of memory, and whether what they say of themselves agrees with itself.
#pragma once
#include <map>
#include <set>

#include "block/faulty_device.h"
#include "block/memory_device.h"
#include "btrfs/format/check.h"
#include "btrfs/format/inode_mode.h"
#include "btrfs/tool/make/image_writer.h"
#include "btrfs/tree/filesystem.h"

namespace karst::btrfs::testing {

class MemoryDevices {
 public:
  explicit MemoryDevices(const std::vector<uint64_t>& sizes) {
    for (uint64_t size : sizes) devices_.push_back(block::MemoryDevice::create(size).value());
  }
  block::MemoryDevice& operator[](size_t n) { return *devices_[n]; }
  size_t size() const { return devices_.size(); }

  // They stay ours. Each of those given fails by its own copy of the plan.
  std::vector<std::unique_ptr<block::Device>> lend(const block::FaultPlan& plan = {}) {
    std::vector<std::unique_ptr<block::Device>> lent;
    for (auto& device : devices_) lent.push_back(std::make_unique<block::FaultyDevice>(*device, plan));
    return lent;
  }
  std::vector<MakeDevice> for_making(const block::FaultPlan& plan = {}) {
    std::vector<MakeDevice> making;
    for (auto& device : lend(plan)) making.push_back({std::move(device), {}});
    return making;
  }

 private:
  std::vector<std::unique_ptr<block::MemoryDevice>> devices_;
};

// A data extent of one sector that was written.
struct WrittenSector {
  uint64_t address;
  std::vector<std::byte> bytes;
};

// A subvolume with so many files of one sector, each with an extent of its own. What is written, and the
// root.
struct FilledTree {
  TreeRoot root;
  std::vector<std::byte> root_block;
};
inline Result<FilledTree> fill_tree(ImageWriter& writer, uint64_t id, uint64_t files,
                                    std::vector<WrittenSector>* written = nullptr) {
  const Geometry& geometry = writer.geometry();
  BulkTree tree = writer.begin_tree(id);
  InodeItem inode{};
  inode.generation = inode.transid = writer.generation();
  inode.nlink = 1;
  inode.mode = mode::directory | 0755;
  TRY(tree.add({id::first_free, ItemType::inode_item, 0}, bytes_of(inode)));
  TRY(tree.add({id::first_free, ItemType::inode_ref, id::first_free},
               {bytes_of(InodeRef{0, 2}), as_bytes("..")}));
  inode.mode = mode::regular | 0644;
  inode.size = inode.nbytes = geometry.sectorsize;
  std::vector<std::byte> sector(geometry.sectorsize), sum(geometry.checksum_size);
  for (uint64_t n = 0; n < files; ++n) {
    const uint64_t number = id::first_free + 1 + n;
    for (size_t i = 0; i < sector.size(); i += 8) std::memcpy(sector.data() + i, &number, 8);
    const DataSpace::Run run = TRY(writer.allocate_data(sector.size(), sector.size()));
    const Bytes piece = sector;
    TRY(writer.write_data(run.address, std::span(&piece, 1)));
    compute_checksums(geometry.checksum_type, sector, geometry.sectorsize, sum);
    TRY(writer.add_checksums(run.address, sum));
    TRY(writer.add_reference(run.address, sector.size(), {id, number, 0}));
    if (written) written->push_back({run.address, sector});
    const std::string name = fmt::format("file {}", n);
    TRY(tree.add({number, ItemType::inode_item, 0}, bytes_of(inode)));
    TRY(tree.add({number, ItemType::inode_ref, id::first_free},
                 {bytes_of(InodeRef{n + 2, static_cast<uint16_t>(name.size())}), as_bytes(name)}));
    FileExtent extent{};
    extent.head.generation = writer.generation();
    extent.head.type = static_cast<uint8_t>(FileExtentType::regular);
    extent.head.ram_bytes = extent.num_bytes = extent.disk_num_bytes = sector.size();
    extent.disk_bytenr = run.address;
    TRY(tree.add({number, ItemType::extent_data, 0}, bytes_of(extent)));
  }
  FilledTree filled{TRY(tree.finish()), {}};
  filled.root_block.assign(tree.root_block().begin(), tree.root_block().end());
  return filled;
}

// A file system whose top level has so many files.
inline Result<MakeReport> make_filesystem(std::vector<MakeDevice> devices, MakeOptions options,
                                          uint64_t files, std::vector<WrittenSector>* written = nullptr) {
  auto writer = TRY(ImageWriter::create(std::move(devices), std::move(options)));
  TRY(writer->begin());
  const FilledTree top = TRY(fill_tree(*writer, id::fs_tree, files, written));
  TRY(writer->add_subvolume({.root = top.root, .place = {}, .snapshot_of = {}}));
  return writer->finish();
}

// Walks everything that the roots lead to and compares it with what the extent tree, the block groups, the
// free space tree, the device tree and the superblock say of it. One line for each contradiction.
class Audit {
 public:
  static std::vector<std::string> of(const Filesystem& fs) {
    Audit audit(fs);
    if (auto done = audit.run(); !done) audit.wrong_.push_back(done.error().message());
    return audit.wrong_;
  }

 private:
  struct Extent {
    uint64_t length = 0, refs = 0;
    bool operator==(const Extent&) const = default;
  };
  explicit Audit(const Filesystem& fs) : fs_(fs) {}

  Result<void> run() {
    TRY(visit(fs_.super().root));
    TRY(visit(fs_.super().chunk_root));
    TRY(account());
    return compare();
  }

  // One more pointer to the block; what is below is walked once.
  Result<void> visit(uint64_t address) {
    const uint32_t nodesize = fs_.geometry().nodesize;
    Extent& extent = found_[address];
    extent.length = nodesize;
    if (extent.refs++ > 0) return {};
    std::vector<std::byte> bytes(nodesize);
    const int copies = TRY(fs_.volume().copies(Logical(address)));
    for (int copy = copies - 1; copy >= 0; --copy) {
      TRY(fs_.volume().read_copy(Logical(address), bytes, copy));
      TRY(verify_block(bytes, fs_.geometry(), {.bytenr = Logical(address)}));
    }
    const TreeBlock block(bytes);
    for (uint32_t slot = 0; slot < block.nritems(); ++slot) {
      if (!block.is_leaf()) {
        TRY(visit(block.key_ptr(slot).blockptr));
        continue;
      }
      const Key key = block.key(slot);
      const Bytes data = block.item_data(slot);
      if (key.type == ItemType::root_item) TRY(visit(root_from_item(key, data).item.bytenr));
      if (const auto* file = overlay<FileExtent>(data);
          key.type == ItemType::extent_data && file &&
          FileExtentType(file->head.type) != FileExtentType::inline_data && file->disk_bytenr) {
        Extent& at = found_[file->disk_bytenr];
        at.length = file->disk_num_bytes;
        ++at.refs;
      }
    }
    return {};
  }

  Result<void> account() {
    const bool apart = fs_.geometry().compat_ro & compat_ro::block_group_tree;
    for (uint64_t id : {id::extent_tree, id::block_group_tree, id::free_space_tree, id::dev_tree}) {
      if (id == id::block_group_tree && !apart) continue;
      if (id == id::free_space_tree && !(fs_.geometry().compat_ro & compat_ro::free_space_tree)) continue;
      Cursor cursor(TRY(fs_.tree(id)));
      for (bool more = TRY(cursor.seek({})); more; more = TRY(cursor.next())) {
        const Key& key = cursor.key();
        if (key.type == ItemType::extent_item || key.type == ItemType::metadata_item)
          said_[key.objectid] = {
              key.type == ItemType::extent_item ? uint64_t(key.offset) : fs_.geometry().nodesize,
              cursor.as<ExtentItem>()->refs};
        if (key.type == ItemType::block_group_item)
          groups_[key.objectid] = {key.offset, cursor.as<BlockGroupItem>()->used};
        if (key.type == ItemType::free_space_extent) free_[key.objectid] = key.offset;
        if (key.type == ItemType::dev_extent) device_extents_.emplace(key.objectid, key.offset);
      }
    }
    return {};
  }

  Result<void> compare() {
    for (const auto& [address, extent] : found_)
      if (!said_.contains(address) || said_[address] != extent)
        wrong_.push_back(fmt::format("extent {}: {} references to {} bytes, the extent tree has {} to {}",
                                     address, extent.refs, extent.length, said_[address].refs,
                                     said_[address].length));
    for (const auto& [address, extent] : said_)
      if (!found_.contains(address))
        wrong_.push_back(fmt::format("extent {}: nothing refers to it", address));
    uint64_t all = 0, stripes = 0;
    for (const ChunkEntry& chunk : fs_.volume().chunks().all()) {
      stripes += chunk.stripes.size();
      for (const ChunkStripe& stripe : chunk.stripes)
        if (!device_extents_.contains({stripe.devid, stripe.offset}))
          wrong_.push_back(fmt::format("chunk {}: no device extent", chunk.logical));
      uint64_t used = 0;
      for (auto at = found_.lower_bound(chunk.logical); at != found_.end() && chunk.contains(at->first); ++at)
        used += at->second.length;
      all += used;
      if (groups_[chunk.logical] != std::pair(chunk.length, used))
        wrong_.push_back(fmt::format("block group {}: {} used of {}, found {} of {}", chunk.logical,
                                     groups_[chunk.logical].second, groups_[chunk.logical].first, used,
                                     chunk.length));
      compare_free(chunk);
    }
    if (groups_.size() != fs_.volume().chunks().all().size() || device_extents_.size() != stripes)
      wrong_.push_back("block groups, device extents and chunks are not as many");
    if (fs_.super().bytes_used != all)
      wrong_.push_back(fmt::format("superblock: {} used, found {}", fs_.super().bytes_used, all));
    return {};
  }

  // What is free and what is used make up the chunk, without a gap.
  void compare_free(const ChunkEntry& chunk) {
    if (!(fs_.geometry().compat_ro & compat_ro::free_space_tree)) return;
    uint64_t next = chunk.logical;
    while (next < chunk.end()) {
      auto used = found_.find(next);
      auto free = free_.find(next);
      if ((used == found_.end()) == (free == free_.end())) {
        wrong_.push_back(fmt::format("chunk {}: {} is both free and used, or neither", chunk.logical, next));
        return;
      }
      next += used != found_.end() ? used->second.length : free->second;
    }
  }

  const Filesystem& fs_;
  std::map<uint64_t, Extent> found_, said_;
  std::map<uint64_t, std::pair<uint64_t, uint64_t>> groups_;  // length, used
  std::map<uint64_t, uint64_t> free_;
  std::set<std::pair<uint64_t, uint64_t>> device_extents_;
  std::vector<std::string> wrong_;
};

}  // namespace karst::btrfs::testing

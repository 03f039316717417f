// A new file system, written once from the first byte to the last: data as it comes, trees from sorted items,
// and at the end everything that accounts for them.
//
//   auto writer = TRY(ImageWriter::create(std::move(devices), options));
//   TRY(writer->begin());                                // from here on the devices are overwritten
//   TRY(writer->add_reference(…));                       // data: allocate, write, checksums, who uses it
//   BulkTree tree = writer->begin_tree(id); … writer->add_subvolume({id, TRY(tree.finish()), …});
//   MakeReport report = TRY(writer->finish());
//
// Order on the devices: old superblocks are wiped first, and new ones are written last, after a flush, so
// that a build that broke off leaves nothing that could be taken for a file system.
//
// The trees that account for the others (extents, free space, block groups, devices, roots) also account for
// themselves. Their sizes are predicted: they are built into nothing, with the prediction so far as input,
// until the outcome equals the prediction. More items never fill fewer blocks, so that it settles.
//
// Memory: that of the options, and 48 bytes for each tree block. Not thread-safe. Errors: no_space; those of
// devices and temporary files.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "block/device.h"
#include "btrfs/extent/extent_items.h"
#include "btrfs/extent/metadata_space.h"
#include "btrfs/format/root.h"
#include "btrfs/tool/make/layout.h"
#include "btrfs/tool/make/options.h"
#include "btrfs/tool/make/uuid_source.h"
#include "btrfs/tree/bulk_tree.h"
#include "btrfs/volume/chunk_writer.h"
#include "core/external_sorter.h"

namespace karst::btrfs {

struct MakeDevice {
  std::unique_ptr<block::Device> device;
  // Unset: the file system has all of the device. Otherwise the device is a file that is larger than it needs
  // to be, and is given so many free bytes behind its last chunk; MakeReport says where it may be cut.
  std::optional<uint64_t> spare;
  uint64_t limit = ~uint64_t{0};  // bytes of the device that are used, at most

  uint64_t usable() const { return std::min(device->size(), limit); }
};

// A subvolume whose tree is written.
struct MadeSubvolume {
  uint64_t id = id::fs_tree;
  TreeRoot root;
  bool readonly = false;
  // All but the top level lie in a directory.
  struct Place {
    uint64_t subvolume, directory, index;
    std::string name;
  };
  std::optional<Place> place;
  std::optional<uint64_t> snapshot_of;
  Timespec time{};  // ctime and otime
};

struct MakeReport {
  Uuid fsid;
  uint64_t total_bytes = 0;  // of all devices
  uint64_t bytes_used = 0;
  struct Device {
    uint64_t devid;
    uint64_t size;  // of the file system on it, bytes
  };
  std::vector<Device> devices;
  struct ChunkSum {
    uint64_t type;    // block_group flags
    uint64_t length;  // logical bytes
    uint64_t used;
  };
  std::vector<ChunkSum> chunks;
};

class ExtentReferences;

class ImageWriter {
 public:
  // `options` are settled here (settle_options). Whatever is refused is refused here: nothing is written.
  static Result<std::unique_ptr<ImageWriter>> create(std::vector<MakeDevice> devices, MakeOptions options);
  ~ImageWriter();

  // Makes all UUIDs that were not given from this text, as MakeOptions::seed does. Before the first tree.
  void seed_uuids(std::string seed);

  // Takes away what was on the devices. Before anything else.
  Result<void> begin();

  const Geometry& geometry() const { return stamp_.geometry; }
  const MakeOptions& options() const { return options_; }
  uint64_t generation() const { return stamp_.geometry.generation; }

  // --- data: addresses and lengths in whole sectors ---
  Result<DataSpace::Run> allocate_data(uint64_t length, uint64_t at_least) {
    return data_.allocate(length, at_least);
  }
  // Whether no chunk ends between the two, so that one extent may cover them.
  bool same_chunk(uint64_t a, uint64_t b) const { return data_.chunk_of(a).contains(b); }
  // Pieces that follow each other, in any number of runs.
  Result<void> write_data(uint64_t address, std::span<const Bytes> pieces);
  // Of the sectors from `address` on. Those of extents that nothing refers to in the end are left out.
  Result<void> add_checksums(uint64_t address, Bytes checksums);
  // One more use of the extent [address, address + length). Equal uses are counted.
  Result<void> add_reference(uint64_t address, uint64_t length, const DataReference& reference);
  // A codec that extents use: its feature bit.
  void note_compression(Compression type);

  // --- trees ---
  BulkTree begin_tree(uint64_t id) { return BulkTree(stamp_, id, metadata_); }
  Result<void> add_subvolume(const MadeSubvolume& subvolume);
  // The last block of `source`, its root, again as root of the snapshot `id`: what it points to is shared.
  Result<TreeRoot> snapshot(uint64_t id, const TreeRoot& source, const TreeBlock& source_root);
  // A top level in which there is nothing.
  Result<void> add_empty_top_level();
  void set_default_subvolume(uint64_t id) { default_subvolume_ = id; }

  // Everything else. Nothing may be called after it.
  Result<MakeReport> finish();

 private:
  ImageWriter(std::vector<MakeDevice> devices, MakeOptions options, DeviceSpace space, ChunkEntry system);
  Result<void> discard(block::Device& device, uint64_t end) const;
  void add_root(uint64_t id, uint64_t key_offset, const RootItem& item);
  RootItem root_item(const TreeRoot& root) const;
  uint64_t device_size(size_t n, const DeviceSpace& space) const;
  DevItem device_item(size_t n, const DeviceSpace& space) const;

  // Trees whose content is known before any chunk is placed.
  Result<void> write_checksum_tree();
  Result<TreeRoot> write_directory_tree(uint64_t id);
  Result<void> write_reloc_tree();
  Result<void> write_uuid_tree();
  Result<void> write_quota_tree();

  // Trees that account for the others. `later` are the blocks predicted after those written.
  struct LateRoots {
    std::map<uint64_t, TreeRoot> trees;
    TreeRoot root_tree;
  };
  Result<DataUse> data_use(const std::vector<ChunkEntry>& chunks) const;
  Result<MakeLayout> plan(const std::vector<ChunkEntry>& data_chunks, const DataUse& use,
                          uint64_t later_blocks);
  Result<TreeRoot> write_chunk_tree(const MakeLayout& layout, BlockSink& sink) const;
  Result<LateRoots> write_late_trees(BlockSink& sink, const MakeLayout& layout, const DataUse& use,
                                     const std::vector<BlockRecord>& later);
  Result<TreeRoot> write_device_tree(BlockSink& sink, const MakeLayout& layout) const;
  Result<TreeRoot> write_free_space_tree(BlockSink& sink, const MakeLayout& layout, const DataUse& use) const;
  Result<TreeRoot> write_block_group_tree(BlockSink& sink, const MakeLayout& layout) const;
  Result<TreeRoot> write_extent_tree(BlockSink& sink, const MakeLayout& layout,
                                     const std::vector<BlockRecord>& later) const;
  Result<TreeRoot> write_root_tree(BlockSink& sink, const LateRoots& roots) const;

  ExtentReferences references() const;  // of all extents, when there are no more
  Result<void> write_blocks(const MakeLayout& layout);
  Result<void> write_superblocks(const MakeLayout& layout, const LateRoots& roots);
  void wipe_superblocks();
  uint64_t bytes_used(const MakeLayout& layout) const;
  MakeReport report(const MakeLayout& layout) const;

  void assign_uuids();
  std::vector<std::byte> item_of(ChunkEntry chunk) const;

  MakeOptions options_;
  std::vector<MakeDevice> devices_;
  UuidSource uuids_;
  Uuid fsid_;
  BlockStamp stamp_;
  std::vector<SpaceDevice> members_;
  DeviceSpace space_;
  LogicalSpace logical_;
  ChunkEntry system_chunk_;
  DataSpace data_;
  MetadataSpace metadata_;
  ChunkWriter chunk_writer_;
  size_t content_blocks_ = 0;  // written before those that account for them
  ExternalSorter references_, checksums_;
  std::vector<std::pair<uint64_t, uint64_t>> shared_blocks_;  // block, and a tree beside its owner's
  std::map<Key, std::vector<std::byte>> root_items_;
  std::map<Key, std::vector<std::byte>> uuid_items_;
  struct Made {
    MadeSubvolume subvolume;
    Uuid uuid;
  };
  std::map<uint64_t, Made> subvolumes_;
  uint64_t default_subvolume_ = id::fs_tree;
};

}  // namespace karst::btrfs

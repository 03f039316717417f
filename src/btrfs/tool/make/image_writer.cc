#include "btrfs/tool/make/image_writer.h"

#include "btrfs/format/inode_mode.h"
#include "btrfs/format/object_ids.h"
#include "btrfs/tool/make/references.h"

#include "core/assert.h"

namespace karst::btrfs {
namespace {

// The only transaction of what is made.
constexpr uint64_t first_generation = 1;
// What data chunks may take of each device: as Linux, at most a tenth of it, 1 GiB.
uint64_t data_stripe_max(uint64_t smallest_device) {
  return std::clamp<uint64_t>(smallest_device / 10 / stripe_length * stripe_length, 1 << 20, 1 << 30);
}

void append(std::vector<std::byte>& out, Bytes bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

}  // namespace

Result<std::unique_ptr<ImageWriter>> ImageWriter::create(std::vector<MakeDevice> devices,
                                                         MakeOptions options) {
  if (devices.empty()) return Error(karst::err::invalid, "no device given");
  uint64_t total = 0;
  for (const MakeDevice& made : devices) {
    if (made.usable() < device_reserved + stripe_length)
      return Error(karst::err::no_space, "device too small")
          .expected(fmt::format("more than {} bytes", device_reserved), made.usable())
          .at("device", made.device->name());
    total += made.spare ? 0 : made.usable();
  }
  TRY(settle_options(options, static_cast<uint32_t>(devices.size()), total));
  std::vector<SpaceDevice> members;
  for (size_t i = 0; i < devices.size(); ++i) {
    const uint64_t size = devices[i].usable() / options.sectorsize * options.sectorsize;
    members.push_back({i + 1, {}, size});
  }
  DeviceSpace space(members);
  const uint64_t type = block_group::system | *options.metadata_profile;
  ChunkEntry system = TRY(space.allocate_bytes(0, type, 1 << 20, options.system_least));
  if (sizeof(DiskKey) + chunk_item(system, options.sectorsize).size() > sizeof Superblock{}.sys_chunk_array)
    return Error(karst::err::limit, "the superblock cannot name so many stripes of a system chunk")
        .at("stripes", system.stripes.size());
  std::unique_ptr<ImageWriter> writer(
      new ImageWriter(std::move(devices), std::move(options), std::move(space), std::move(system)));
  writer->uuids_ = UuidSource(writer->options_.seed);
  writer->members_ = std::move(members);
  writer->assign_uuids();
  return writer;
}

void ImageWriter::seed_uuids(std::string seed) {
  uuids_ = UuidSource(std::move(seed));
  assign_uuids();
}

// Chunks may be older than the UUIDs.
std::vector<std::byte> ImageWriter::item_of(ChunkEntry chunk) const {
  for (ChunkStripe& stripe : chunk.stripes) stripe.dev_uuid = members_[stripe.devid - 1].uuid;
  return chunk_item(chunk, options_.sectorsize);
}

void ImageWriter::assign_uuids() {
  for (SpaceDevice& member : members_)
    member.uuid = member.devid == 1 && options_.device_uuid ? *options_.device_uuid : uuids_.next();
  fsid_ = options_.fsid ? *options_.fsid : uuids_.next();
  stamp_.chunk_tree_uuid = uuids_.next();
  stamp_.geometry.metadata_uuid = fsid_;
}

ImageWriter::ImageWriter(std::vector<MakeDevice> devices, MakeOptions options, DeviceSpace space,
                         ChunkEntry system)
    : options_(std::move(options)),
      devices_(std::move(devices)),
      space_(std::move(space)),
      system_chunk_(std::move(system)),
      data_(space_, logical_,
            block_group::data | *options_.data_profile | (options_.mixed() ? block_group::metadata : 0),
            data_stripe_max(std::min_element(devices_.begin(), devices_.end(),
                                             [](const MakeDevice& a, const MakeDevice& b) {
                                               return a.usable() < b.usable();
                                             })
                                ->usable())),
      metadata_(logical_, options_.nodesize,
                {.directory = options_.temporary_directory, .memory = options_.memory}),
      chunk_writer_([this] {
        std::unordered_map<uint64_t, block::Device*> by_id;
        for (size_t i = 0; i < devices_.size(); ++i) by_id[i + 1] = devices_[i].device.get();
        return by_id;
      }()),
      references_({.memory = 16 << 20, .directory = options_.temporary_directory}),
      checksums_({.memory = 16 << 20, .directory = options_.temporary_directory}) {
  system_chunk_.logical = logical_.take(system_chunk_.length);
  stamp_.geometry.nodesize = options_.nodesize;
  stamp_.geometry.sectorsize = options_.sectorsize;
  stamp_.geometry.checksum_type = options_.checksum;
  stamp_.geometry.checksum_size = static_cast<uint32_t>(checksum_size(options_.checksum));
  stamp_.geometry.generation = first_generation;
  stamp_.geometry.incompat = options_.incompat;
  stamp_.geometry.compat_ro = options_.compat_ro;
  for (const MakeDevice& device : devices_) stamp_.geometry.total_bytes += device.usable();
}

ImageWriter::~ImageWriter() = default;

// Whatever was here before is gone from now on: its superblocks, and what other systems keep at both ends.
Result<void> ImageWriter::begin() {
  for (MakeDevice& made : devices_) {
    block::Device& device = *made.device;
    const uint64_t end = device.size() / 4096 * 4096;
    // A file that is to be cut has nothing at its end yet.
    const uint64_t tail = made.spare ? end : std::max(device_reserved, end - device_reserved);
    TRY(device.write_zeroes(0, device_reserved));
    for (int mirror = 1; mirror < superblock_mirrors; ++mirror)
      if (uint64_t offset = superblock_mirror_offset(mirror); offset + superblock_size <= end)
        TRY(device.write_zeroes(offset, superblock_size));
    TRY(device.write_zeroes(tail, end - tail));
    TRY(device.flush());
    // Only now, so that no superblock is ever left over trees that are gone.
    if (options_.discard) TRY(discard(device, tail));
  }
  return {};
}

// What lies between the wiped places up to `end`. Some devices cannot; nothing depends on it.
Result<void> ImageWriter::discard(block::Device& device, uint64_t end) const {
  uint64_t start = device_reserved;
  auto discard_until = [&](uint64_t stop) -> Result<void> {
    if (start >= stop) return {};
    auto discarded = device.discard(start, stop - start);
    if (!discarded && !discarded.error().is(karst::err::unsupported)) return std::move(discarded).error();
    return {};
  };
  for (int mirror = 1; mirror < superblock_mirrors; ++mirror) {
    const uint64_t copy = superblock_mirror_offset(mirror);
    if (copy >= end) break;
    TRY(discard_until(copy));
    start = copy + superblock_size;
  }
  return discard_until(end);
}

// --- data ------------------------------------------------------------------------------------------------

Result<void> ImageWriter::write_data(uint64_t address, std::span<const Bytes> pieces) {
  for (Bytes piece : pieces) {
    while (!piece.empty()) {
      const ChunkEntry& chunk = data_.chunk_of(address);
      const size_t length = std::min<uint64_t>(piece.size(), chunk.end() - address);
      TRY(chunk_writer_.write(chunk, address, piece.first(length)));
      address += length;
      piece = piece.subspan(length);
    }
  }
  return {};
}

Result<void> ImageWriter::add_checksums(uint64_t address, Bytes checksums) {
  be64 key = address;
  return checksums_.add(bytes_of(key), checksums);
}

Result<void> ImageWriter::add_reference(uint64_t address, uint64_t length, const DataReference& reference) {
  const ReferenceKey key(address, reference);
  ReferenceValue value{length, reference.count};
  return references_.add(bytes_of(key), bytes_of(value));
}

ExtentReferences ImageWriter::references() const {
  return {references_, {.temporary_directory = options_.temporary_directory}};
}

void ImageWriter::note_compression(Compression type) {
  if (type == Compression::lzo) options_.incompat |= incompat::compress_lzo;
  if (type == Compression::zstd) options_.incompat |= incompat::compress_zstd;
}

// --- trees -----------------------------------------------------------------------------------------------

RootItem ImageWriter::root_item(const TreeRoot& root) const {
  RootItem item{};
  // As Linux fills in the inode that a root item begins with (fs/btrfs/ioctl.c, create_subvol()).
  item.inode.generation = 1;
  item.inode.size = 3;
  item.inode.nlink = 1;
  item.inode.nbytes = options_.nodesize;
  item.inode.mode = mode::directory | 0755;
  item.generation = item.generation_v2 = generation();
  item.bytenr = raw(root.address);
  item.bytes_used = root.blocks * options_.nodesize;
  item.refs = 1;
  item.level = root.level;
  return item;
}

void ImageWriter::add_root(uint64_t id, uint64_t key_offset, const RootItem& item) {
  append(root_items_[{id, ItemType::root_item, key_offset}], bytes_of(item));
}

Result<void> ImageWriter::add_subvolume(const MadeSubvolume& made) {
  Uuid uuid = uuids_.next();
  RootItem item = root_item(made.root);
  item.inode.flags = inode_flag::root_item_init;  // or Linux would clear the flags below
  item.root_dirid = id::first_free;
  item.flags = made.readonly ? root_flag::readonly : 0;
  item.uuid = uuid;
  item.ctransid = item.otransid = generation();
  item.ctime = item.otime = made.time;
  uint64_t key_offset = 0;
  if (made.snapshot_of) {
    auto source = subvolumes_.find(*made.snapshot_of);
    VERIFY(source != subvolumes_.end());
    item.parent_uuid = source->second.uuid;
    item.last_snapshot = generation();
    key_offset = generation();
    // From now on Linux looks at the reference counts of the source's blocks before it changes them.
    for (auto& [key, bytes] : root_items_)
      if (key.objectid == *made.snapshot_of && key.type == ItemType::root_item)
        reinterpret_cast<RootItem*>(bytes.data())->last_snapshot = generation();
  }
  add_root(made.id, key_offset, item);

  // The UUID's halves are the key (Linux fs/btrfs/uuid-tree.c).
  le64 halves[2];
  std::memcpy(halves, uuid.bytes.data(), sizeof halves);
  append(uuid_items_[{halves[0], ItemType::uuid_subvol, halves[1]}], bytes_of(le64(made.id)));

  if (made.place) {
    RootRef ref{made.place->directory, made.place->index, static_cast<uint16_t>(made.place->name.size())};
    for (Key key : {Key{made.place->subvolume, ItemType::root_ref, made.id},
                    Key{made.id, ItemType::root_backref, made.place->subvolume}}) {
      auto& bytes = root_items_[key];
      append(bytes, bytes_of(ref));
      append(bytes, as_bytes(made.place->name));
    }
  }
  subvolumes_.emplace(made.id, Made{made, uuid});
  return {};
}

Result<TreeRoot> ImageWriter::snapshot(uint64_t id, const TreeRoot& source, const TreeBlock& source_root) {
  std::vector<std::byte> copy(source_root.bytes().begin(), source_root.bytes().end());
  Logical address = TRY(metadata_.allocate());
  auto& header = *reinterpret_cast<Header*>(copy.data());
  header.bytenr = raw(address);
  header.owner = id;
  const Geometry& geometry = stamp_.geometry;
  Checksum sum = compute_checksum(geometry.checksum_type, Bytes(copy).subspan(checksum_field_size));
  std::memcpy(copy.data(), sum.bytes.data(), sum.bytes.size());
  TreeBlock block(copy);
  TRY(metadata_.write(block));
  for (uint32_t slot = 0; slot < block.nritems(); ++slot) {
    if (!block.is_leaf()) {
      shared_blocks_.emplace_back(block.key_ptr(slot).blockptr, id);
      continue;
    }
    Key key = block.key(slot);
    const auto* extent = overlay<FileExtent>(block.item_data(slot));
    if (key.type != ItemType::extent_data || !extent ||
        FileExtentType(extent->head.type) == FileExtentType::inline_data || extent->disk_bytenr == 0)
      continue;
    TRY(add_reference(extent->disk_bytenr, extent->disk_num_bytes,
                      {id, key.objectid, key.offset - extent->offset}));
  }
  return TreeRoot{address, source.level, source.blocks};
}

// --- the end ---------------------------------------------------------------------------------------------

Result<MakeReport> ImageWriter::finish() {
  TRY(references_.finish());
  TRY(checksums_.finish());
  std::sort(shared_blocks_.begin(), shared_blocks_.end());
  stamp_.geometry.incompat = options_.incompat;
  if (default_subvolume_ != id::fs_tree) options_.incompat |= incompat::default_subvol;
  TRY(write_checksum_tree());
  TRY(write_reloc_tree());
  TRY(write_uuid_tree());
  if (options_.quotas) TRY(write_quota_tree());

  const std::vector<ChunkEntry> data_chunks = TRY(data_.finish(options_.data_least));
  const DataUse use = TRY(data_use(data_chunks));
  content_blocks_ = metadata_.count();
  std::vector<BlockRecord> later;
  std::optional<MakeLayout> layout;
  for (size_t round = 1;; ++round) {
    // Free space that comes and goes with a block more could be without end: it stays if there is more of it.
    if (round % 32 == 0) options_.metadata_spare += 2 * options_.nodesize;
    layout = TRY(plan(data_chunks, use, later.size()));
    PredictingSink sink(metadata_, metadata_.count());
    TRY(write_late_trees(sink, *layout, use, later));
    if (sink.records() == later) break;
    later = sink.records();
  }
  LateRoots roots = TRY(write_late_trees(metadata_, *layout, use, later));
  TRY(write_blocks(*layout));
  if (auto written = write_superblocks(*layout, roots); !written) {
    wipe_superblocks();
    return std::move(written).error();
  }
  return report(*layout);
}

// As well as it can be done: one device may have refused its own.
void ImageWriter::wipe_superblocks() {
  for (MakeDevice& made : devices_)
    for (int mirror = 0; mirror < superblock_mirrors; ++mirror)
      if (uint64_t offset = superblock_mirror_offset(mirror); offset + superblock_size <= made.device->size())
        (void)made.device->write_zeroes(offset, superblock_size, block::IoFlags::fua);
}

Result<void> ImageWriter::write_blocks(const MakeLayout& layout) {
  // The chunk tree's own chunk, by a sink that writes at once.
  class SystemSink final : public BlockSink {
   public:
    SystemSink(const ChunkEntry& chunk, ChunkWriter& writer)
        : chunk_(chunk), writer_(writer), next_(chunk.logical) {}
    Result<Logical> allocate() override { return Logical(next_); }
    Result<void> write(const TreeBlock& block) override {
      next_ += block.nodesize();
      return writer_.write(chunk_, block.bytenr(), block.bytes());
    }

   private:
    const ChunkEntry& chunk_;
    ChunkWriter& writer_;
    uint64_t next_;
  };
  SystemSink system(system_chunk_, chunk_writer_);
  TRY(write_chunk_tree(layout, system));

  auto chunk = layout.chunks.begin();
  TRY(metadata_.for_each([&](uint64_t address, Bytes blocks) -> Result<void> {
    while (!blocks.empty()) {
      while (!chunk->chunk.contains(address)) ++chunk;
      uint64_t length = std::min<uint64_t>(blocks.size(), chunk->chunk.end() - address);
      TRY(chunk_writer_.write(chunk->chunk, address, blocks.first(length)));
      address += length;
      blocks = blocks.subspan(length);
    }
    return {};
  }));
  return chunk_writer_.finish();
}

uint64_t ImageWriter::device_size(size_t n, const DeviceSpace& space) const {
  const MakeDevice& device = devices_[n];
  if (!device.spare) return members_[n].size;
  const uint64_t size = space.end_of_chunks(members_[n].devid) + *device.spare;
  return std::min(members_[n].size,
                  (size + options_.sectorsize - 1) / options_.sectorsize * options_.sectorsize);
}

uint64_t ImageWriter::bytes_used(const MakeLayout& layout) const {
  uint64_t sum = 0;
  for (const PlacedChunk& chunk : layout.chunks) sum += chunk.used;
  return sum;
}

MakeReport ImageWriter::report(const MakeLayout& layout) const {
  MakeReport report{
      .fsid = fsid_, .total_bytes = 0, .bytes_used = bytes_used(layout), .devices = {}, .chunks = {}};
  for (size_t i = 0; i < members_.size(); ++i) {
    report.devices.push_back({members_[i].devid, device_size(i, layout.space)});
    report.total_bytes += report.devices.back().size;
  }
  for (const PlacedChunk& placed : layout.chunks) {
    auto sum = std::find_if(report.chunks.begin(), report.chunks.end(),
                            [&](const auto& known) { return known.type == placed.chunk.type; });
    if (sum == report.chunks.end()) sum = report.chunks.insert(sum, {placed.chunk.type, 0, 0});
    sum->length += placed.chunk.length;
    sum->used += placed.used;
  }
  return report;
}

Result<void> ImageWriter::write_superblocks(const MakeLayout& layout, const LateRoots& roots) {
  Superblock super{};
  super.fsid = fsid_;
  super.flags = super_flag::written;
  super.magic = superblock_magic;
  super.generation = super.chunk_root_generation = generation();
  super.root = raw(roots.root_tree.address);
  super.root_level = roots.root_tree.level;
  super.chunk_root = raw(layout.chunk_root.address);
  super.chunk_root_level = layout.chunk_root.level;
  super.bytes_used = bytes_used(layout);
  super.root_dir_objectid = id::root_tree_dir;
  super.num_devices = members_.size();
  super.sectorsize = super.stripesize = options_.sectorsize;
  super.nodesize = super.leafsize = options_.nodesize;
  super.compat_ro_flags = options_.compat_ro;
  super.incompat_flags = options_.incompat;
  super.csum_type = static_cast<uint16_t>(options_.checksum);
  std::copy(options_.label.begin(), options_.label.end(), super.label);
  // Without a free space tree: no version 1 cache is valid. The UUID tree is complete.
  super.cache_generation = (options_.compat_ro & compat_ro::free_space_tree) ? 0 : ~0ull;
  super.uuid_tree_generation = generation();
  uint64_t total = 0;
  for (size_t i = 0; i < members_.size(); ++i) total += device_size(i, layout.space);
  super.total_bytes = total;

  std::vector<std::byte> array;
  append(array, bytes_of(DiskKey::from({id::first_chunk_tree, ItemType::chunk_item, system_chunk_.logical})));
  append(array, item_of(system_chunk_));
  VERIFY(array.size() <= sizeof super.sys_chunk_array);
  std::memcpy(super.sys_chunk_array, array.data(), array.size());
  super.sys_chunk_array_size = static_cast<uint32_t>(array.size());

  RootBackup& backup = super.super_roots[0];
  auto root_of = [&](uint64_t tree) -> std::pair<uint64_t, uint8_t> {
    if (auto late = roots.trees.find(tree); late != roots.trees.end())
      return {raw(late->second.address), late->second.level};
    auto item = root_items_.lower_bound({tree, ItemType::root_item, 0});
    const auto& root = *overlay<RootItem>(item->second);
    return {root.bytenr, root.level};
  };
  backup.tree_root = super.root;
  backup.tree_root_level = super.root_level;
  backup.chunk_root = super.chunk_root;
  backup.chunk_root_level = super.chunk_root_level;
  std::tie(backup.extent_root, backup.extent_root_level) =
      root_of(options_.compat_ro & compat_ro::block_group_tree ? id::block_group_tree : id::extent_tree);
  std::tie(backup.fs_root, backup.fs_root_level) = root_of(id::fs_tree);
  std::tie(backup.dev_root, backup.dev_root_level) = root_of(id::dev_tree);
  std::tie(backup.csum_root, backup.csum_root_level) = root_of(id::csum_tree);
  backup.tree_root_gen = backup.chunk_root_gen = backup.extent_root_gen = backup.fs_root_gen =
      backup.dev_root_gen = backup.csum_root_gen = generation();
  backup.total_bytes = total;
  backup.bytes_used = super.bytes_used;
  backup.num_devices = super.num_devices;

  for (MakeDevice& device : devices_) TRY(device.device->flush());
  // The copies first: with the first one the file system is there.
  for (int mirror = superblock_mirrors - 1; mirror >= 0; --mirror) {
    for (size_t i = 0; i < devices_.size(); ++i) {
      const uint64_t offset = superblock_mirror_offset(mirror), size = device_size(i, layout.space);
      if (offset + superblock_size > size) continue;
      super.bytenr = offset;
      super.dev_item = device_item(i, layout.space);
      Checksum sum = compute_checksum(options_.checksum, bytes_of(super).subspan(checksum_field_size));
      std::memcpy(super.checksum, sum.bytes.data(), sum.bytes.size());
      TRY(check_superblock(super, offset));
      TRY(devices_[i].device->write(offset, bytes_of(super), block::IoFlags::fua));
    }
  }
  for (MakeDevice& device : devices_) TRY(device.device->flush());
  return {};
}

}  // namespace karst::btrfs

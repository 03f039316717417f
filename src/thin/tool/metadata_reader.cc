#include "thin/tool/metadata_reader.h"

#include <algorithm>

#include "thin/format/errors.h"

namespace karst::thin {
namespace {

DeviceFacts facts_of(DeviceId id, const DeviceDetails& details) {
  return {id, details.mapped_blocks, details.transaction_id, details.creation_time, details.snapshotted_time};
}

}  // namespace

Result<std::vector<std::byte>> read_superblock(block::Device& device, MetadataBlock at) {
  std::vector<std::byte> block(metadata_block_size);
  TRY(device.read(raw(at) * metadata_block_size, block));
  TRY(check_seal(BlockKind::superblock, at, block));
  TRY(check_superblock(*overlay<Superblock>(block), Opening::for_reading));
  return block;
}

MetadataReader::MetadataReader(block::Device& device, cache::Cache& cache, std::vector<std::byte> super,
                               uint64_t nr_data_blocks)
    : super_(std::move(super)),
      nr_data_blocks_(nr_data_blocks),
      store_(device, cache, std::min(device.size() / metadata_block_size, metadata_blocks_max)) {}

Result<std::unique_ptr<MetadataReader>> MetadataReader::open(block::Device& device, cache::Cache& cache,
                                                             const Reading& reading) {
  const auto where = [&] { return fmt::format("opening the metadata on {}", device.name()); };
  auto block = TRY(read_superblock(device, superblock_at).context(where));
  const auto& super = *overlay<Superblock>(block);
  // The snapshot has no space maps.
  const uint64_t data_blocks = super.data_space_map().nr_blocks;
  if (reading.snapshot) {
    const auto at = reading.snapshot_at.value_or(MetadataBlock{super.held_root.value()});
    if (raw(at) == 0) return Error(err::not_found, "no current metadata snap").at("device", device.name());
    block = TRY(
        read_superblock(device, at).context([&] { return std::string("reading the metadata snapshot"); }));
  }
  return std::unique_ptr<MetadataReader>(new MetadataReader(device, cache, std::move(block), data_blocks));
}

PoolFacts MetadataReader::facts() const {
  const Superblock& from = super();
  PoolFacts facts{.time = from.time,
                  .transaction = from.trans_id,
                  .flags = from.flags,
                  .version = from.version,
                  .data_block_size = from.data_block_size,
                  .nr_data_blocks = nr_data_blocks_};
  if (from.held_root != 0) facts.metadata_snap = from.held_root.value();
  return facts;
}

Result<void> MetadataReader::read_roots(KeyRange wanted, std::vector<Device>& devices) {
  return TreeWalk(store_, sizeof(le64))
      .walk(MetadataBlock{super().data_mapping_root.value()}, wanted,
            [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
              for (uint32_t i = begin; i < end; ++i) {
                if (leaf.key(i) > max_device_id)
                  return Error(err::device_details, "a device has a number that none can have")
                      .expected(fmt::format("up to {}", max_device_id), leaf.key(i));
                devices.push_back({{.id = static_cast<DeviceId>(leaf.key(i))}, leaf.child(i)});
              }
              return true;
            })
      .context([] { return std::string("reading the roots of devices"); });
}

Result<void> MetadataReader::read_details(KeyRange wanted, std::vector<Device>& devices) {
  size_t next = 0;
  TRY(TreeWalk(store_, sizeof(DeviceDetails))
          .walk(MetadataBlock{super().device_details_root.value()}, wanted,
                [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
                  for (uint32_t i = begin; i < end; ++i, ++next) {
                    if (next == devices.size() || devices[next].facts.id != leaf.key(i))
                      return Error(err::device_details, "the trees of devices do not have the same devices")
                          .expected(
                              next < devices.size() ? fmt::to_string(devices[next].facts.id) : "no more",
                              leaf.key(i));
                    devices[next].facts = facts_of(devices[next].facts.id, leaf.value_as<DeviceDetails>(i));
                  }
                  return true;
                })
          .context([] { return std::string("reading the details of devices"); }));
  if (next != devices.size())
    return Error(err::device_details, "a device has mappings and no details")
        .at("device", devices[next].facts.id);
  return {};
}

Result<std::vector<MetadataReader::Device>> MetadataReader::devices_in(KeyRange wanted) {
  std::vector<Device> found;
  TRY(read_roots(wanted, found));
  TRY(read_details(wanted, found));
  return found;
}

Result<std::vector<MetadataReader::Device>> MetadataReader::devices() { return devices_in({}); }

Result<MetadataReader::Device> MetadataReader::device(DeviceId id) {
  auto found = TRY(devices_in({id, id}));
  if (found.empty()) return Error::make(err::no_device, "no thin device {} in the pool", id);
  return std::move(found.front());
}

Result<void> MetadataReader::walk_mappings(const Device& device, TreeWalk::Visit each) {
  return TreeWalk(store_, sizeof(le64)).walk(device.root, {}, each).context([&] {
    return fmt::format("reading the mappings of device {}", device.facts.id);
  });
}

}  // namespace karst::thin

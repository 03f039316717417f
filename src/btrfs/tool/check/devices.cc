#include "btrfs/tool/check/devices.h"

#include <algorithm>
#include <map>

#include "btrfs/tool/check/item_stream.h"

namespace karst::btrfs::check {
namespace {

struct DeviceExtentRecord {
  uint64_t devid, offset, length, chunk;
  bool matched = false;
};

class DeviceCheck {
 public:
  explicit DeviceCheck(State& state) : state_(state), report_(state.report) {}

  void run() {
    read_devices();
    read_extents();
    for (const ChunkEntry& chunk : state_.fs.volume().chunks().all()) check_chunk(chunk);
    check_groups();
    check_extents();
    check_device_items();
    check_super();
  }

 private:
  void read_devices() {
    ItemStream items(state_.blocks(), state_.fs.chunk_tree().root);
    while (items.next()) {
      const Key& key = items.key();
      if (key.type == ItemType::dev_item) devices_.emplace(key.offset, *items.as<DevItem>());
      if (key.type == ItemType::chunk_item) stripe_devices(key.offset, items.data());
    }
    // Linux maps the superblock's chunks first, and keeps them.
    auto system = system_chunks(state_.fs.super());
    if (!system) return;
    for (const SystemChunk& chunk : *system) stripe_devices(chunk.logical, chunk.item);
  }

  // Items of devices come before those of chunks.
  void stripe_devices(uint64_t chunk, Bytes item) {
    for (uint32_t i = 0; i < overlay<Chunk>(item)->num_stripes; ++i) {
      const auto& stripe = *overlay<Stripe>(item, sizeof(Chunk) + i * sizeof(Stripe));
      auto device = devices_.find(stripe.devid);
      if (device == devices_.end() || device->second.uuid == stripe.dev_uuid) continue;
      report_.add(
          finding::device_identity,
          fmt::format("Chunk[{}, {}, {}] stripe[{}, {}] is of device {}, its item says {}",
                      id::first_chunk_tree, static_cast<unsigned>(ItemType::chunk_item), chunk,
                      stripe.devid.value(), stripe.offset.value(), stripe.dev_uuid, device->second.uuid),
          {{"chunk", chunk}, {"devid", stripe.devid}});
    }
  }

  void read_extents() {
    const RootRecord* tree = state_.root(id::dev_tree);
    if (!tree) return;
    ItemStream items(state_.blocks(), tree->block);
    while (items.next()) {
      const Key& key = items.key();
      if (key.type == ItemType::dev_extent) {
        const auto& item = *items.as<DevExtent>();
        extents_.push_back({key.objectid, key.offset, item.length, item.chunk_offset});
      } else if (key.type == ItemType::persistent_item && key.objectid == id::dev_stats) {
        statistics(key.offset, items.data());
      }
    }
    extents_known_ = !items.incomplete();
  }

  void statistics(uint64_t devid, Bytes data) {
    const char* const names[] = {"write", "read", "flush", "corruption", "generation"};
    for (size_t i = 0; i < std::size(names); ++i) {
      const auto* value = overlay<le64>(data, i * sizeof(le64));
      if (value && *value != 0)
        report_.add(finding::device_stats,
                    fmt::format("device {} has counted {} {} errors", devid, value->value(), names[i]),
                    {{"devid", devid}});
    }
  }

  void check_chunk(const ChunkEntry& chunk) {
    const std::string name = fmt::format("Chunk[{}, {}, {}]", id::first_chunk_tree,
                                         static_cast<unsigned>(ItemType::chunk_item), chunk.logical);
    auto& groups = state_.block_groups;
    auto group = std::lower_bound(groups.begin(), groups.end(), chunk.logical,
                                  [](const BlockGroupRecord& g, uint64_t start) { return g.start < start; });
    if (group == groups.end() || group->start != chunk.logical) {
      if (state_.extents_known)
        report_.add(finding::chunk_block_group,
                    fmt::format("{}: length({}), offset({}), type({}) is not found in block group", name,
                                chunk.length, chunk.logical, chunk.type),
                    {{"chunk", chunk.logical}});
    } else if (group->length != chunk.length || group->flags != chunk.type) {
      report_.add(finding::chunk_block_group,
                  fmt::format("{}: length({}), offset({}), type({}) mismatch with block group[{}, {}, {}]: "
                              "offset({}), objectid({}), flags({})",
                              name, chunk.length, chunk.logical, chunk.type, group->start,
                              static_cast<unsigned>(ItemType::block_group_item), group->length, group->length,
                              group->start, group->flags),
                  {{"chunk", chunk.logical}});
    }
    if (!extents_known_) return;
    for (const ChunkStripe& stripe : chunk.stripes) check_stripe(chunk, stripe, name);
  }

  void check_stripe(const ChunkEntry& chunk, const ChunkStripe& stripe, const std::string& name) {
    auto wanted = std::pair(stripe.devid, stripe.offset);
    auto extent = std::lower_bound(
        extents_.begin(), extents_.end(), wanted,
        [](const auto& e, const auto& place) { return std::pair(e.devid, e.offset) < place; });
    if (extent == extents_.end() || std::pair(extent->devid, extent->offset) != wanted) {
      report_.add(
          finding::chunk_device_extent,
          fmt::format("{} stripe[{}, {}] is not found in dev extent", name, stripe.devid, stripe.offset),
          {{"chunk", chunk.logical}, {"devid", stripe.devid}});
      return;
    }
    extent->matched = extent->chunk == chunk.logical;
    if (extent->matched && extent->length == chunk.stripe_size()) return;
    report_.add(finding::chunk_device_extent,
                fmt::format("{} stripe[{}, {}] mismatch dev extent[{}, {}, {}]", name, stripe.devid,
                            stripe.offset, extent->devid, extent->offset, extent->length),
                {{"chunk", chunk.logical}, {"devid", stripe.devid}});
  }

  void check_groups() {
    uint64_t used = 0;
    for (const BlockGroupRecord& group : state_.block_groups) {
      used += group.found_used;
      auto chunk = state_.fs.volume().chunks().find(group.start);
      if (!chunk || (*chunk)->logical != group.start)
        report_.add(finding::block_group_chunk,
                    fmt::format("Block group[{}, {}] (flags = {}) didn't find the relative chunk.",
                                group.start, group.length, group.flags),
                    {{"block_group", group.start}});
      else if (state_.extents_known && group.used != group.found_used)
        report_.add(finding::block_group_used,
                    fmt::format("block group [{} {}] used {} but extent items used {}", group.start,
                                group.length, group.used, group.found_used),
                    {{"block_group", group.start}});
    }
    if (state_.extents_known && used != state_.fs.super().bytes_used)
      report_.add(finding::super_bytes_used, fmt::format("super bytes used {} mismatches actual used {}",
                                                         state_.fs.super().bytes_used.value(), used));
  }

  void check_extents() {
    const DeviceExtentRecord* before = nullptr;
    for (const DeviceExtentRecord& extent : extents_) {
      const std::string name =
          fmt::format("Device extent[{}, {}, {}]", extent.devid, extent.offset, extent.length);
      if (!extent.matched)
        report_.add(finding::device_extent_chunk, name + " didn't find the relative chunk.",
                    {{"devid", extent.devid}, {"offset", extent.offset}});
      auto device = devices_.find(extent.devid);
      if (device == devices_.end())
        report_.add(finding::device_extent_device, name + " didn't find its device.",
                    {{"devid", extent.devid}, {"offset", extent.offset}});
      else if (extent.length > device->second.total_bytes ||
               extent.offset > device->second.total_bytes - extent.length)
        report_.add(
            finding::device_extent_bounds,
            fmt::format("{} is beyond the device's end at {}", name, device->second.total_bytes.value()),
            {{"devid", extent.devid}, {"offset", extent.offset}});
      if (before && before->devid == extent.devid && before->offset + before->length > extent.offset)
        report_.add(finding::device_extent_overlap,
                    fmt::format("{} overlaps the one before, which ends at {}", name,
                                before->offset + before->length),
                    {{"devid", extent.devid}, {"offset", extent.offset}});
      before = &extent;
    }
  }

  void check_device_items() {
    std::map<uint64_t, uint64_t> used_of;
    for (const DeviceExtentRecord& extent : extents_) used_of[extent.devid] += extent.length;
    for (const auto& [devid, device] : devices_) {
      uint64_t used = used_of[devid];
      if (device.bytes_used > device.total_bytes)
        report_.add(finding::device_used,
                    fmt::format("device {} has incorrect used bytes {} > total bytes {}", devid,
                                device.bytes_used.value(), device.total_bytes.value()),
                    {{"devid", devid}});
      else if (extents_known_ && used != device.bytes_used)
        report_.add(
            finding::device_used,
            fmt::format("Dev extent's total-byte({}) is not equal to byte-used({}) in dev[{}, {}, {}]", used,
                        device.bytes_used.value(), id::dev_items, static_cast<unsigned>(ItemType::dev_item),
                        devid),
            {{"devid", devid}});
      check_size(devid, device);
    }
  }

  void check_size(uint64_t devid, const DevItem& device) {
    if (device.total_bytes % state_.geometry().sectorsize != 0)
      report_.add(finding::device_size,
                  fmt::format("unaligned total_bytes detected for devid {}, have {} should be aligned to {}",
                              devid, device.total_bytes.value(), state_.geometry().sectorsize),
                  {{"devid", devid}});
    const MemberDevice* member = state_.fs.volume().member(devid);
    if (!member) {
      report_.add(finding::device_missing, fmt::format("device {} is missing", devid), {{"devid", devid}});
      return;
    }
    if (member->uuid != device.uuid || metadata_fsid(member->super) != device.fsid)
      report_.add(finding::device_identity,
                  fmt::format("device {} is {} of file system {}, its item says {} of {}", devid,
                              member->uuid, metadata_fsid(member->super), device.uuid, device.fsid),
                  {{"devid", devid}});
    if (device.total_bytes > member->device->size() && !is_metadump())
      report_.add(
          finding::device_small,
          fmt::format("block device size is smaller than total_bytes in device item, has {} expect >= {}",
                      member->device->size(), device.total_bytes.value()),
          {{"devid", devid}});
    const DevItem& own = member->super.dev_item;
    if (own.total_bytes != device.total_bytes)
      report_.add(finding::super_device,
                  fmt::format("device {}'s total_bytes was {} in tree but {} in superblock", devid,
                              device.total_bytes.value(), own.total_bytes.value()),
                  {{"devid", devid}});
    if (own.bytes_used != device.bytes_used)
      report_.add(finding::super_device,
                  fmt::format("device {}'s bytes_used was {} in tree but {} in superblock", devid,
                              device.bytes_used.value(), own.bytes_used.value()),
                  {{"devid", devid}});
  }

  void check_super() {
    const Superblock& super = state_.fs.super();
    uint64_t total = 0;
    for (const auto& [devid, device] : devices_) total += device.total_bytes;
    if (super.total_bytes < total)
      report_.add(finding::super_size, fmt::format("super total bytes {} smaller than real device(s) size {}",
                                                   super.total_bytes.value(), total));
    else if (super.total_bytes != total && !is_metadump())
      report_.add(
          finding::device_size,
          fmt::format("minor unaligned/mismatch device size detected: super block total bytes={} found "
                      "total bytes={}",
                      super.total_bytes.value(), total));
    if (super.num_devices != devices_.size())
      report_.add(finding::device_count, fmt::format("super num devices mismatch, have {} expect {}",
                                                     super.num_devices.value(), devices_.size()));
  }

  bool is_metadump() const {
    return (state_.geometry().super_flags & (super_flag::metadump | super_flag::metadump_v2)) != 0;
  }

  State& state_;
  Report& report_;
  std::map<uint64_t, DevItem> devices_;
  std::vector<DeviceExtentRecord> extents_;
  bool extents_known_ = false;
};

// A field that Linux does not look at; the stock tool takes no superblock where it is anything else.
Result<void> check_stripesize(const Superblock& super) {
  if (super.stripesize == 4096 || super.stripesize == super.sectorsize) return {};
  return Error(err::super_invalid, "invalid stripesize")
      .expected(super.sectorsize.value(), super.stripesize.value());
}

}  // namespace

void check_superblocks(State& state) {
  for (const MemberDevice& member : state.fs.volume().members()) {
    for (int mirror = 0; mirror < superblock_mirrors; ++mirror) {
      uint64_t offset = superblock_mirror_offset(mirror);
      uint64_t size = std::min<uint64_t>(member.device->size(), member.super.dev_item.total_bytes);
      if (offset > size || size - offset < superblock_size) continue;
      Superblock copy;
      auto outcome = member.device->read(offset, {reinterpret_cast<std::byte*>(&copy), sizeof copy});
      if (outcome) outcome = check_superblock(copy, offset);
      if (outcome) outcome = check_stripesize(copy);
      if (outcome) continue;
      // Only the first one has to be there: a file system copied by its contents may lack the others.
      state.report.add(
          mirror == 0 ? finding::super_copy : finding::super_mirror,
          fmt::format("superblock {} of device {}: {}", mirror, member.devid, outcome.error().message()),
          {{"devid", member.devid}, {"mirror", static_cast<uint64_t>(mirror)}});
    }
  }
}

void check_devices(State& state) { DeviceCheck(state).run(); }

}  // namespace karst::btrfs::check

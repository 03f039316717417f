#include "btrfs/tool/usage.h"

#include <algorithm>

#include "btrfs/format/chunk.h"

namespace karst::btrfs {
namespace {

// Where block group items are: a tree of their own, or among the extents.
Result<Tree> block_group_items(const Filesystem& fs) {
  bool own_tree = (fs.geometry().compat_ro & compat_ro::block_group_tree) != 0;
  return fs.tree(own_tree ? id::block_group_tree : id::extent_tree);
}

int type_rank(uint64_t flags) {
  if (flags & block_group::data) return 0;
  if (flags & block_group::metadata) return 1;
  return 2;
}

SpaceUsage& space_for(std::vector<SpaceUsage>& spaces, uint64_t flags) {
  for (SpaceUsage& space : spaces)
    if (space.flags == flags) return space;
  spaces.push_back({flags, profile_of(flags), 0, 0, 0});
  return spaces.back();
}

}  // namespace

Result<Usage> measure_usage(const Filesystem& fs) {
  Usage usage;
  Cursor items(TRY(block_group_items(fs)));
  for (const ChunkEntry& chunk : fs.volume().chunks().all()) {
    SpaceUsage& space = space_for(usage.spaces, chunk.type);
    space.total += chunk.length;
    space.device_bytes += chunk.stripe_size() * chunk.stripes.size();
    if (TRY(items.find({chunk.logical, ItemType::block_group_item, chunk.length})))
      space.used += items.as<BlockGroupItem>()->used;
  }
  std::stable_sort(usage.spaces.begin(), usage.spaces.end(), [](const SpaceUsage& a, const SpaceUsage& b) {
    return std::pair(type_rank(a.flags), a.flags) < std::pair(type_rank(b.flags), b.flags);
  });

  Cursor devices(fs.chunk_tree());
  for (bool more = TRY(devices.seek({id::dev_items, ItemType::dev_item, 0}));
       more && devices.key().objectid == id::dev_items && devices.key().type == ItemType::dev_item;
       more = TRY(devices.next())) {
    const auto& item = *devices.as<DevItem>();
    const MemberDevice* member = fs.volume().member(item.devid);
    usage.devices.push_back(
        {item.devid, item.uuid, item.total_bytes, item.bytes_used, !member || member->uuid != item.uuid});
  }
  return usage;
}

}  // namespace karst::btrfs

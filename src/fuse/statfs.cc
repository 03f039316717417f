// The formulas are those of Linux 6.18 fs/btrfs: super.c (statfs, space for data), block-rsv.c (the global
// reserve), block-group.h (factors). They were checked against the kernel's answers for the test images.
#include "fuse/statfs.h"

#include <algorithm>
#include <bit>

#include "btrfs/format/chunk.h"
#include "btrfs/tool/usage.h"

namespace karst::fuse {
namespace {

using namespace btrfs;

uint64_t copies_of(uint64_t flags) {
  const Profile* profile = profile_of(flags);
  return profile ? profile->copies : 1;
}

// Bytes used by all copies.
uint64_t used_on_disk(const Usage& usage) {
  uint64_t sum = 0;
  for (const SpaceUsage& space : usage.spaces) sum += space.used * copies_of(space.flags);
  return sum;
}

// Of several data profiles the highest bit decides: the last one that the kernel looks at.
uint64_t data_factor(const Usage& usage) {
  uint64_t profiles = 0;
  for (const SpaceUsage& space : usage.spaces)
    if (space.flags & block_group::data) profiles |= space.flags & block_group::profile_mask;
  return profiles == 0 ? 1 : copies_of(std::bit_floor(profiles));
}

// What the kernel keeps back so that it can always commit.
Result<uint64_t> global_reserve(const Filesystem& fs) {
  constexpr uint64_t unlink_items = 6;
  constexpr uint64_t most = 512 << 20;
  const uint64_t compat_ro = fs.super().compat_ro_flags;
  const bool free_space_tree = (compat_ro & compat_ro::free_space_tree) != 0;
  uint64_t trees_size = 0, items = 1;
  auto add = [&](uint64_t tree) -> Result<void> {
    auto root = fs.root(tree);
    if (!root)
      return root.error().is(btrfs::err::no_tree) ? Result<void>() : Result<void>(std::move(root).error());
    trees_size += root->item.bytes_used;
    ++items;
    return {};
  };
  TRY(add(id::extent_tree));
  TRY(add(id::csum_tree));
  if (free_space_tree) TRY(add(id::free_space_tree));
  if (compat_ro & compat_ro::block_group_tree) TRY(add(id::block_group_tree));
  // An insertion may split each level of a tree.
  const uint64_t item_size = uint64_t{fs.geometry().nodesize} * max_level * 2;
  const uint64_t delayed_items = free_space_tree ? 2 * unlink_items : unlink_items;
  return std::min(most, std::max(trees_size, item_size * (items + unlink_items + delayed_items)));
}

// Space on devices that no chunk has. A read-only mount counts it as if data were single.
Result<uint64_t> unallocated(const Filesystem& fs) {
  constexpr uint64_t reserved = 1 << 20;  // at the start of each device
  uint64_t sum = 0;
  Cursor cursor(fs.chunk_tree());
  TRY(cursor.seek({id::dev_items, ItemType::dev_item, 0}));
  while (cursor.valid() && cursor.key().objectid == id::dev_items &&
         cursor.key().type == ItemType::dev_item) {
    const auto* device = cursor.as<DevItem>();
    const bool seed = device && device->fsid != metadata_fsid(fs.super());
    if (device && !seed && fs.volume().member(device->devid) && device->bytes_used <= device->total_bytes) {
      uint64_t free = (device->total_bytes - device->bytes_used) / stripe_length * stripe_length;
      if (free >= reserved + stripe_length) sum += free - reserved;
    }
    TRY(cursor.next());
  }
  return sum;
}

}  // namespace

Result<struct statvfs> statfs_of(const Filesystem& fs) {
  const Usage usage = TRY(measure_usage(fs));
  const uint64_t factor = data_factor(usage);
  const uint64_t reserve = TRY(global_reserve(fs));
  const uint64_t unit = fs.geometry().sectorsize;
  struct statvfs numbers {};
  numbers.f_bsize = unit;
  numbers.f_frsize = unit;
  numbers.f_namemax = 255;
  numbers.f_blocks = fs.super().total_bytes / factor / unit;
  const uint64_t taken = used_on_disk(usage) / factor / unit + reserve / unit;
  numbers.f_bfree = numbers.f_blocks - std::min<uint64_t>(taken, numbers.f_blocks);
  numbers.f_bavail = TRY(unallocated(fs)) / factor / unit;
  return numbers;
}

}  // namespace karst::fuse

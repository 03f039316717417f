// Space that is spoiled, one thing at a time: extents and references, block groups, free space, devices,
// superblocks.
#include "btrfs/tool/check/testing_spoil.h"

namespace karst::btrfs::testing {
namespace {

// The first leaf of a tree.
Change header(uint64_t tree, std::function<void(Header&)> change) {
  return [=](const PristineImage& image, Devices& devices) {
    for (const auto& block : image.blocks()) {
      if (block.owner != tree || block.level != 0) continue;
      image.change_block(devices, block.bytenr, [&](MutableBytes bytes) { change(as<Header>(bytes)); });
      return true;
    }
    return false;
  };
}

const Spoiled table[] = {
    {"DataPointer", usual, regular_extent([](FileExtent& e) {
       e.disk_bytenr = e.disk_bytenr + 4096;
       return true;
     }),
     "extent-back-reference", "referencer count mismatch"},
    {"DataLength", usual, regular_extent([](FileExtent& e) {
       e.disk_num_bytes = e.disk_num_bytes + 4096;
       return true;
     }),
     "extent-back-reference", "size mismatch"},
    {"ExtentThatNothingRefersTo", usual, regular_extent([](FileExtent& e) {
       e.disk_bytenr = 0;
       e.disk_num_bytes = 0;
       e.offset = 0;
       e.num_bytes = e.head.ram_bytes;
       return true;
     }),
     "extent-back-reference", "owner ref check failed ["},
    // Counts of references, inline and keyed ones, against what refers (BT-085).
    {"DataRefs", usual,
     extent(
         [](ExtentItem& e, MutableBytes) {
           e.refs = e.refs + 1;
           return true;
         },
         extent_flag::data),
     "extent-reference-count", "ref mismatch on"},
    {"TreeRefs", snapshots,
     extent(
         [](ExtentItem& e, MutableBytes) {
           e.refs = e.refs + 1;
           return true;
         },
         extent_flag::tree_block),
     "extent-reference-count", "ref mismatch on"},
    {"TreeRefRoot", usual,
     extent(
         [](ExtentItem&, MutableBytes data) {
           if (data.size() < sizeof(ExtentItem) + sizeof(InlineRef)) return false;
           auto& ref = as<InlineRef>(data, sizeof(ExtentItem));
           if (ref.type != static_cast<uint8_t>(ItemType::tree_block_ref)) return false;
           ref.offset = 300;
           return true;
         },
         extent_flag::tree_block),
     "extent-back-reference", "has no backref item in extent tree"},
    {"TreeLevel", usual,
     item(id::extent_tree, ItemType::metadata_item,
          [](const Key& key, MutableBytes, Item& head) {
            head.key.offset = key.offset ^ 3;
            return true;
          }),
     "extent-level", "metadata level mismatch"},
    {"TreeGeneration", usual,
     extent(
         [](ExtentItem& e, MutableBytes) {
           e.generation = e.generation - 1;
           return true;
         },
         extent_flag::tree_block),
     "extent-generation", "backref generation mismatch, wanted: "},
    // A leaf that points to nothing.
    {"FullBackReference", usual,
     extent(
         [](ExtentItem& e, MutableBytes data) {
           auto& ref = as<InlineRef>(data, sizeof(ExtentItem));
           if (ref.offset != id::fs_tree || (e.flags & extent_flag::full_backref)) return false;
           e.flags = e.flags | extent_flag::full_backref;
           return true;
         },
         extent_flag::tree_block),
     "extent-back-reference", "bad full backref, on ["},
    {"RelocationFlag", usual, header(id::fs_tree, [](Header& h) { h.flags = h.flags | header_flag_reloc; }),
     "extent-back-reference", "bad full backref, on ["},
    // A leaf without data, for its references name the owner too.
    {"OwnerThatDoesNotLeadThere", usual,
     [](const PristineImage& image, Devices& devices) {
       for (const auto& block : image.blocks()) {
         if (block.owner != id::fs_tree || block.level != 0) continue;
         bool done = false;
         image.change_block(devices, block.bytenr, [&](MutableBytes bytes) {
           TreeBlock leaf(bytes);
           for (uint32_t slot = 0; slot < leaf.nritems(); ++slot)
             if (leaf.key(slot).type == ItemType::extent_data) return;
           reinterpret_cast<Header*>(bytes.data())->owner = id::first_free;
           done = true;
         });
         if (done) return true;
       }
       return false;
     },
     "extent-back-reference", "owner ref check failed ["},
    {"BackReferenceRevision", usual,
     header(id::csum_tree, [](Header& h) { h.flags = h.flags & ~(~0ull << header_backref_rev_shift); }),
     "extent-back-reference", "back references of before mixed ones"},
    // The sum of the extents (BT-038).
    {"BlockGroupUsed", usual,
     item(id::extent_tree, ItemType::block_group_item,
          [](const Key&, MutableBytes data, Item&) {
            auto& group = as<BlockGroupItem>(data);
            group.used = group.used + 4096;
            return true;
          }),
     "block-group-used", "but extent items used"},
    {"BlockGroupFlags", usual,
     item(id::extent_tree, ItemType::block_group_item,
          [](const Key&, MutableBytes data, Item&) {
            auto& group = as<BlockGroupItem>(data);
            if (group.flags & block_group::profile_mask) return false;
            group.flags = group.flags | block_group::dup;
            return true;
          }),
     "chunk-block-group", "mismatch with block group"},
    // A chunk of metadata that says it is one for the chunk tree, and its block group says so too.
    {"TreesInASystemChunk", usual,
     [](const PristineImage& image, Devices& devices) {
       uint64_t start = 0;
       auto change = [&](le64& flags) {
         flags = (flags & ~block_group::metadata) | block_group::system;
         return true;
       };
       return change_first(image, devices, id::chunk_tree, ItemType::chunk_item,
                           [&](const Key& key, MutableBytes data, Item&) {
                             auto& chunk = as<Chunk>(data);
                             start = key.offset;
                             return (chunk.type & block_group::metadata) && change(chunk.type);
                           }) &&
              change_first(image, devices, id::extent_tree, ItemType::block_group_item,
                           [&](const Key& key, MutableBytes data, Item&) {
                             return key.objectid == start && change(as<BlockGroupItem>(data).flags);
                           });
     },
     "extent-type", "type mismatch with chunk"},
    // The free space tree against what extents leave free (BT-047).
    {"FreeSpace", usual,
     item(id::free_space_tree, ItemType::free_space_extent,
          [](const Key& key, MutableBytes, Item& head) {
            head.key.offset = key.offset - 4096;
            return true;
          }),
     "free-space", "cache appears valid but isn't"},
    {"FreeSpaceCount", usual,
     item(id::free_space_tree, ItemType::free_space_info,
          [](const Key&, MutableBytes data, Item&) {
            auto& info = as<FreeSpaceInfo>(data);
            info.extent_count = info.extent_count + 1;
            return true;
          }),
     "free-space", "free space info recorded"},
    {"FreeSpaceForm", usual,
     item(id::free_space_tree, ItemType::free_space_info,
          [](const Key&, MutableBytes data, Item&) {
            auto& info = as<FreeSpaceInfo>(data);
            info.flags = info.flags ^ free_space_using_bitmaps;
            return info.extent_count > 0;
          }),
     "free-space", "unexpected key of type"},
    {"FreeSpaceCacheMode", "space-cache-v1",
     item(id::root_tree, ItemType::inode_item,
          [](const Key& key, MutableBytes data, Item&) {
            if (key.objectid < id::first_free) return false;
            auto& inode = as<InodeItem>(data);
            inode.mode = inode.mode ^ 0100;
            return true;
          }),
     "free-space-cache", "has invalid mode"},
    {"DeviceExtentLength", usual,
     item(id::dev_tree, ItemType::dev_extent,
          [](const Key&, MutableBytes data, Item&) {
            auto& extent = as<DevExtent>(data);
            extent.length = extent.length - 65536;
            return true;
          }),
     "chunk-device-extent", "mismatch dev extent"},
    {"DeviceExtentChunk", usual,
     item(id::dev_tree, ItemType::dev_extent,
          [](const Key&, MutableBytes data, Item&) {
            as<DevExtent>(data).chunk_offset = 1ull << 40;
            return true;
          }),
     "device-extent-without-chunk", "didn't find the relative chunk"},
    {"DeviceUsed", usual,
     item(id::chunk_tree, ItemType::dev_item,
          [](const Key&, MutableBytes data, Item&) {
            auto& device = as<DevItem>(data);
            device.bytes_used = device.bytes_used - 65536;
            return true;
          }),
     "device-bytes-used", "is not equal to byte-used"},
    {"DeviceTooSmall", usual,
     [](const PristineImage& image, Devices& devices) {
       return change_first(image, devices, id::chunk_tree, ItemType::dev_item,
                           [&](const Key&, MutableBytes data, Item&) {
                             as<DevItem>(data).total_bytes = devices[0]->size() + 65536;
                             return true;
                           });
     },
     "device-too-small", "block device size is smaller than total_bytes in device item"},
    {"DeviceUuid", usual,
     item(id::chunk_tree, ItemType::dev_item,
          [](const Key&, MutableBytes data, Item&) {
            as<DevItem>(data).uuid.bytes[5] ^= 1;
            return true;
          }),
     "device-identity", "its item says"},
    {"DeviceFsid", usual,
     item(id::chunk_tree, ItemType::dev_item,
          [](const Key&, MutableBytes data, Item&) {
            as<DevItem>(data).fsid.bytes[5] ^= 1;
            return true;
          }),
     "device-identity", "its item says"},
    {"StripeUuid", usual,
     item(id::chunk_tree, ItemType::chunk_item,
          [](const Key&, MutableBytes data, Item&) {
            as<Stripe>(data, sizeof(Chunk)).dev_uuid.bytes[5] ^= 1;
            return true;
          }),
     "device-identity", "stripe[1, "},
    // The other copy of the chunk tree is still found.
    {"SystemChunkUuid", "raid1-2", super([](Superblock& s) {
       constexpr size_t uuid_at = sizeof(DiskKey) + sizeof(Chunk) + offsetof(Stripe, dev_uuid);
       s.sys_chunk_array[uuid_at] ^= 1;
     }),
     "device-identity", "its item says"},
    {"SuperBytesUsed", usual, super([](Superblock& s) { s.bytes_used = s.bytes_used - 4096; }),
     "super-bytes-used", "super bytes used"},
    {"SuperDevices", usual, super([](Superblock& s) { s.num_devices = 2; }), "device-count",
     "super num devices mismatch"},
    {"SuperStripeSize", usual, super([](Superblock& s) { s.stripesize = 8192; }), "super-copy",
     "invalid stripesize"},
};

class SpoiledSpace : public ::testing::TestWithParam<Spoiled> {};
INSTANTIATE_TEST_SUITE_P(Table, SpoiledSpace, ::testing::ValuesIn(table),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

TEST_P(SpoiledSpace, AreFoundAndNamed) { expect_found(GetParam()); }

}  // namespace
}  // namespace karst::btrfs::testing

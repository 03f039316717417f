// Checking images: those that Linux made are clean, and each single thing that is spoiled is found and named.
//
//   KARST_MUTATION_CASES, KARST_MUTATION_SEED: as in mutation_test.cc
#include "btrfs/tool/check.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "btrfs/format/chunk.h"
#include "btrfs/format/extent.h"
#include "btrfs/format/quota.h"
#include "btrfs/tool/check/testing_check.h"

namespace karst::btrfs::testing {
namespace {

// What is spoiled in the image on purpose.
const std::set<std::string> broken_images = {"bad-metadata-copies", "stale-mirror-2", "super-0-1-zeroed",
                                             "super-0-damaged", "super-0-zeroed"};

class Images : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, Images, ::testing::ValuesIn(image_names()), [](const auto& parameter) {
  std::string name = parameter.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(Images, AreCleanAsLinuxMadeThem) {
  UnpackedImage image(GetParam());
  Devices devices;
  for (const std::string& path : image.devices())
    devices.push_back(*block::open_device(path, block::OpenMode::read_only));
  auto checked = check_devices(std::move(devices));
  if (GetParam() == "lost-tree-root") {
    EXPECT_FALSE(checked->result);
    return;
  }
  ASSERT_TRUE(checked->result) << checked->error;
  EXPECT_EQ(checked->result->problems > 0, broken_images.contains(GetParam())) << checked->findings.text();
  EXPECT_EQ(checked->findings.phases.size(), 8u);
}

TEST(DataChecksums, AreComparedInEveryCopyOnlyWhenAsked) {
  for (const char* name : {"bad-data", "bad-data-2"}) {
    UnpackedImage image(name);
    auto devices = [&] {
      Devices all;
      for (const std::string& path : image.devices())
        all.push_back(*block::open_device(path, block::OpenMode::read_only));
      return all;
    };
    EXPECT_EQ(check_devices(devices())->result->problems, 0u);
    auto checked = check_devices(devices(), {.data_csum = true});
    EXPECT_TRUE(checked->findings.has("data-checksum", "mirror 1 bytenr")) << checked->findings.text();
  }
}

// ---- one thing spoiled at a time ----

using Change = std::function<bool(const PristineImage&, Devices&)>;

struct Spoiled {
  const char* name;
  const char* image;
  Change change;
  const char* id;
  const char* words;
};
void PrintTo(const Spoiled& spoiled, std::ostream* out) { *out << spoiled.name; }

constexpr const char* usual = "nodesize-4k";
constexpr const char* snapshots = "snapshots-4k";

Change item(uint64_t tree, ItemType type, std::function<bool(const Key&, MutableBytes, Item&)> change) {
  return [=](const PristineImage& image, Devices& devices) {
    return change_first(image, devices, tree, type, [&](const Key& key, MutableBytes data, Item& head) {
      return change(key, data, head);
    });
  };
}

template <typename T>
T& as(MutableBytes data, size_t offset = 0) {
  return *reinterpret_cast<T*>(data.data() + offset);
}

Change inode(uint32_t type, std::function<void(InodeItem&)> change) {
  return item(id::fs_tree, ItemType::inode_item, [=](const Key& key, MutableBytes data, Item&) {
    auto& inode = as<InodeItem>(data);
    if (key.objectid == id::first_free || (inode.mode & S_IFMT) != type || inode.size == 0) return false;
    change(inode);
    return true;
  });
}

Change extent(std::function<bool(ExtentItem&, MutableBytes)> change, uint64_t flag) {
  return [=](const PristineImage& image, Devices& devices) {
    auto visit = [&](const Key&, MutableBytes data, Item&) {
      auto& extent = as<ExtentItem>(data);
      return (extent.flags & flag) != 0 && change(extent, data);
    };
    return change_first(image, devices, id::extent_tree, ItemType::extent_item, visit) ||
           change_first(image, devices, id::extent_tree, ItemType::metadata_item, visit);
  };
}

Change regular_extent(std::function<bool(FileExtent&)> change) {
  return item(id::fs_tree, ItemType::extent_data, [=](const Key&, MutableBytes data, Item&) {
    if (data.size() < sizeof(FileExtent)) return false;
    auto& extent = as<FileExtent>(data);
    return extent.head.type == 1 && extent.disk_bytenr != 0 && extent.head.compression == 0 && change(extent);
  });
}

Change super(std::function<void(Superblock&)> change) {
  return [=](const PristineImage&, Devices& devices) {
    for (auto& device : devices) for_each_superblock(*device, [&](Superblock& super) { change(super); });
    return true;
  };
}

// The last item, so that the keys stay in order.
bool last_checksums_moved(const PristineImage& image, Devices& devices) {
  Key last;
  auto each = [&](const Key& key, MutableBytes, Item&) {
    last = std::max(last, key);
    return false;
  };
  change_first(image, devices, id::csum_tree, ItemType::extent_csum, each);
  return change_first(image, devices, id::csum_tree, ItemType::extent_csum,
                      [&](const Key& key, MutableBytes, Item& head) {
                        if (key != last) return false;
                        head.key.offset = key.offset + (1ull << 40);
                        return true;
                      });
}

const Spoiled table[] = {
    {"LinkCount", usual, inode(S_IFREG, [](InodeItem& i) { i.nlink = i.nlink + 1; }), "inode",
     "link count wrong"},
    {"Bytes", usual, inode(S_IFREG, [](InodeItem& i) { i.nbytes = i.nbytes + 4096; }), "inode",
     "nbytes wrong"},
    {"DirectorySize", usual, inode(S_IFDIR, [](InodeItem& i) { i.size = i.size + 2; }), "inode",
     "dir isize wrong"},
    {"NoOrphan", usual, inode(S_IFREG, [](InodeItem& i) { i.nlink = 0; }), "inode", "no orphan item"},
    {"TypeOfInode", usual, inode(S_IFREG, [](InodeItem& i) { i.mode = (i.mode & 07777) | S_IFIFO; }), "inode",
     "filetype mismatch"},
    {"RootDirectoryLinks", usual,
     item(id::fs_tree, ItemType::inode_item,
          [](const Key& key, MutableBytes data, Item&) {
            if (key.objectid != id::first_free) return false;
            as<InodeItem>(data).nlink = 0;
            return true;
          }),
     "inode", "root 5 inode 256 errors 2200, dir isize wrong, link count wrong"},
    {"EntryType", usual,
     item(id::fs_tree, ItemType::dir_index,
          [](const Key&, MutableBytes data, Item&) {
            auto& entry = as<DirItem>(data);
            if (entry.type != 1) return false;
            entry.type = 3;
            return true;
          }),
     "inode", "filetype mismatch"},
    {"EntryTarget", usual,
     item(id::fs_tree, ItemType::dir_item,
          [](const Key&, MutableBytes data, Item&) {
            auto& entry = as<DirItem>(data);
            if (entry.location.type != static_cast<uint8_t>(ItemType::inode_item)) return false;
            entry.location.objectid = 1ull << 40;
            return true;
          }),
     "inode", "no inode item"},
    {"ReferenceIndex", usual,
     item(id::fs_tree, ItemType::inode_ref,
          [](const Key& key, MutableBytes data, Item&) {
            if (key.objectid == id::first_free) return false;
            auto& ref = as<InodeRef>(data);
            ref.index = ref.index + 1000;
            return true;
          }),
     "inode", "index mismatch"},
    {"Nodatasum", usual,
     [](const PristineImage& image, Devices& devices) {
       uint64_t with_data = 0;
       change_first(
           image, devices, id::fs_tree, ItemType::extent_data, [&](const Key& key, MutableBytes data, Item&) {
             bool regular = data.size() >= sizeof(FileExtent) && as<FileExtent>(data).head.type == 1 &&
                            as<FileExtent>(data).disk_bytenr != 0;
             if (regular) with_data = key.objectid;
             return regular;
           });
       return change_first(image, devices, id::fs_tree, ItemType::inode_item,
                           [&](const Key& key, MutableBytes data, Item&) {
                             auto& inode = as<InodeItem>(data);
                             if (key.objectid != with_data) return false;
                             inode.flags = inode.flags | inode_flag::nodatasum;
                             return true;
                           });
     },
     "inode", "odd csum item"},
    {"ChecksumsMoved", usual, last_checksums_moved, "checksum-without-extent",
     "there are no extents for csum range"},
    {"ChecksumsGone", usual, last_checksums_moved, "inode", "some csum missing"},
    {"ExtentTooShort", usual, regular_extent([](FileExtent& e) {
       e.head.ram_bytes = e.offset + e.num_bytes - 4096;
       return true;
     }),
     "inode", "bad file extent"},
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
    {"SuperBytesUsed", usual, super([](Superblock& s) { s.bytes_used = s.bytes_used - 4096; }),
     "super-bytes-used", "super bytes used"},
    {"SuperDevices", usual, super([](Superblock& s) { s.num_devices = 2; }), "device-count",
     "super num devices mismatch"},
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
    {"RootDirectoryId", usual,
     item(id::root_tree, ItemType::root_item,
          [](const Key& key, MutableBytes data, Item&) {
            if (key.objectid != id::fs_tree) return false;
            as<RootItem>(data).root_dirid = 300;
            return true;
          }),
     "root-directory", "root 5 root dir 300 not found"},
    {"FreeSpaceForm", usual,
     item(id::free_space_tree, ItemType::free_space_info,
          [](const Key&, MutableBytes data, Item&) {
            auto& info = as<FreeSpaceInfo>(data);
            info.flags = info.flags ^ free_space_using_bitmaps;
            return info.extent_count > 0;
          }),
     "free-space", "unexpected key of type"},
    {"FileExtentOfTheFuture", usual, regular_extent([](FileExtent& e) {
       e.head.generation = 1000000;
       return true;
     }),
     "extent-generation", "invalid file extent generation, have 1000000"},
    // The extent's other file has checksums rightly.
    {"NodatasumOfOne", usual,
     [](const PristineImage& image, Devices& devices) {
       constexpr uint64_t tree = id::first_free;  // has an extent that another file uses too
       uint64_t owner = 0;
       change_first(image, devices, tree, ItemType::extent_data, [&](const Key& key, MutableBytes data, Item&) {
         bool regular = data.size() >= sizeof(FileExtent) && as<FileExtent>(data).head.type == 1 &&
                        as<FileExtent>(data).disk_bytenr != 0;
         if (regular) owner = key.objectid;
         return regular;
       });
       return change_first(image, devices, tree, ItemType::inode_item,
                           [&](const Key& key, MutableBytes data, Item&) {
                             auto& inode = as<InodeItem>(data);
                             if (key.objectid != owner) return false;
                             inode.flags = inode.flags | inode_flag::nodatasum;
                             return true;
                           });
     },
     "inode", "odd csum item"},
    {"RootRefsCount", snapshots,
     item(id::root_tree, ItemType::root_item,
          [](const Key& key, MutableBytes data, Item&) {
            if (key.objectid < id::first_free || key.objectid > id::last_free) return false;
            as<RootItem>(data).refs = 2;
            return true;
          }),
     "root-references", "refs mismatch found 1 expect 2"},
    {"RootRefDirectory", snapshots,
     item(id::root_tree, ItemType::root_ref,
          [](const Key&, MutableBytes data, Item&) {
            as<RootRef>(data).dirid = 100000;
            return true;
          }),
     "root-references", "unresolved ref root"},
    // The last key of a leaf that is not the tree's last is behind the first of the next leaf.
    {"KeysBehindTheNextLeaf", usual,
     [](const PristineImage& image, Devices& devices) {
       auto last_key = [](MutableBytes bytes) -> DiskKey& {
         auto& header = *reinterpret_cast<Header*>(bytes.data());
         return reinterpret_cast<Item*>(bytes.data() + sizeof(Header))[header.nritems - 1].key;
       };
       uint64_t chosen = 0, leaves = 0;
       Key least = Key::max();
       for (const auto& block : image.blocks()) {
         if (block.owner != id::extent_tree || block.level != 0) continue;
         ++leaves;
         image.change_block(devices, block.bytenr, [&](MutableBytes bytes) {
           if (last_key(bytes).key() < least) chosen = block.bytenr;
           least = std::min(least, last_key(bytes).key());
         });
       }
       if (leaves < 2) return false;
       image.change_block(devices, chosen, [&](MutableBytes bytes) {
         last_key(bytes).objectid = 1ull << 60;
         last_key(bytes).type = 0xfe;
       });
       return true;
     },
     "bad-tree-block", "behind the next"},
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
    {"RelocationFlag", usual,
     [](const PristineImage& image, Devices& devices) {
       for (const auto& block : image.blocks()) {
         if (block.owner != id::fs_tree || block.level != 0) continue;
         image.change_block(devices, block.bytenr, [](MutableBytes bytes) {
           auto& header = *reinterpret_cast<Header*>(bytes.data());
           header.flags = header.flags | header_flag_reloc;
         });
         return true;
       }
       return false;
     },
     "extent-back-reference", "bad full backref, on ["},
    {"ExtentThatNothingRefersTo", usual, regular_extent([](FileExtent& e) {
       e.disk_bytenr = 0;
       e.disk_num_bytes = 0;
       e.offset = 0;
       e.num_bytes = e.head.ram_bytes;
       return true;
     }),
     "extent-back-reference", "owner ref check failed ["},
    // The checksums of an extent without the first, and an inode that should have none.
    {"NodatasumInPart", usual,
     [](const PristineImage& image, Devices& devices) {
       Key last;
       change_first(image, devices, id::csum_tree, ItemType::extent_csum,
                    [&](const Key& key, MutableBytes data, Item&) {
                      if (data.size() > 4) last = std::max(last, key);
                      return false;
                    });
       std::set<uint64_t> owners;
       change_first(image, devices, id::fs_tree, ItemType::extent_data,
                    [&](const Key& key, MutableBytes data, Item&) {
                      if (data.size() < sizeof(FileExtent)) return false;
                      const auto& extent = as<FileExtent>(data);
                      bool has = extent.disk_bytenr <= last.offset &&
                                 last.offset < extent.disk_bytenr + extent.disk_num_bytes;
                      if (has) owners.insert(key.objectid);
                      return false;
                    });
       change_first(image, devices, id::fs_tree, ItemType::inode_item,
                    [&](const Key& key, MutableBytes data, Item&) {
                      auto& inode = as<InodeItem>(data);
                      if (owners.contains(key.objectid)) inode.flags = inode.flags | inode_flag::nodatasum;
                      return false;
                    });
       return !owners.empty() && change_first(image, devices, id::csum_tree, ItemType::extent_csum,
                                              [&](const Key& key, MutableBytes, Item& head) {
                                                if (key != last) return false;
                                                head.key.offset = key.offset + 4096;
                                                return true;
                                              });
     },
     "inode", "odd csum item"},
    {"OrphanDirectorySize", "crash-orphans",
     item(id::fs_tree, ItemType::inode_item,
          [](const Key&, MutableBytes data, Item&) {
            auto& inode = as<InodeItem>(data);
            if (inode.nlink != 0) return false;
            inode.mode = S_IFDIR | 0755;
            inode.size = 10;
            return true;
          }),
     "inode", "dir isize wrong"},
    // An index that Linux makes again (BT-053).
    {"UuidTree", usual,
     item(id::uuid_tree, ItemType::uuid_subvol,
          [](const Key&, MutableBytes data, Item&) {
            auto& subvolume = as<le64>(data);
            subvolume = 5000;
            return true;
          }),
     "uuid-tree", "for subvolume 5000, which does not have it"},
    // Referenced and exclusive bytes, counted again (BT-088).
    {"Qgroup", "quota",
     item(id::quota_tree, ItemType::qgroup_info,
          [](const Key&, MutableBytes data, Item&) {
            auto& info = as<QgroupInfoItem>(data);
            info.rfer = info.rfer + 4096;
            return true;
          }),
     "quota-group", "are different"},
    {"QgroupRelation", "quota",
     item(id::quota_tree, ItemType::qgroup_relation,
          [](const Key& key, MutableBytes, Item& head) {
            if (qgroup_level(key.objectid) > 0) return false;
            head.key.offset = key.offset + 1000;
            return true;
          }),
     "quota-group", "relation without its group"},
    {"QgroupOfNobody", "squota",
     item(id::quota_tree, ItemType::qgroup_info,
          [](const Key& key, MutableBytes, Item& head) {
            if (key.offset != id::fs_tree) return false;
            head.key.offset = key.offset + 1;
            return true;
          }),
     "quota-group", "Counts for qgroup id: 0/6 are different"},
    {"FreeSpaceCacheMode", "space-cache-v1",
     item(id::root_tree, ItemType::inode_item,
          [](const Key& key, MutableBytes data, Item&) {
            if (key.objectid < id::first_free) return false;
            auto& inode = as<InodeItem>(data);
            inode.mode = inode.mode ^ 0100;
            return true;
          }),
     "free-space-cache", "has invalid mode"},
    {"SimpleQgroup", "squota",
     item(id::quota_tree, ItemType::qgroup_info,
          [](const Key&, MutableBytes data, Item&) {
            auto& info = as<QgroupInfoItem>(data);
            info.excl = info.excl + 4096;
            return true;
          }),
     "quota-group", "are different"},
};

class SpoiledImages : public ::testing::TestWithParam<Spoiled> {};
INSTANTIATE_TEST_SUITE_P(Table, SpoiledImages, ::testing::ValuesIn(table),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

TEST_P(SpoiledImages, AreFoundAndNamed) {
  const Spoiled& spoiled = GetParam();
  PristineImage image(spoiled.image);
  auto clean = check_devices(image.overlays());
  ASSERT_TRUE(clean->result) << clean->error;
  ASSERT_EQ(clean->result->problems, 0u) << clean->findings.text();
  for (unsigned threads : {1, 2}) {
    Devices devices = image.overlays();
    ASSERT_TRUE(spoiled.change(image, devices)) << "nothing to spoil";
    auto checked = check_devices(std::move(devices), {}, threads);
    ASSERT_TRUE(checked->result) << checked->error;
    EXPECT_TRUE(checked->findings.has(spoiled.id, spoiled.words)) << checked->findings.text();
  }
}

// ---- the free space cache of version 1 (BT-046) ----

// The first page of a block group's cache file that has entries, in the device.
struct CachePage {
  std::vector<std::byte> bytes;
  uint64_t offset = 0, pages = 0;

  static std::optional<CachePage> find(const PristineImage& image, Devices& devices) {
    cache::Cache cache({.limit = 16 << 20});
    auto fs = Filesystem::open(image.overlays(), {}, cache, Logger());
    if (!fs) return std::nullopt;
    Cursor cursor((*fs)->root_tree());
    auto found = cursor.seek({id::free_space, ItemType{}, 0});
    for (; found && *found && cursor.key().objectid == id::free_space; found = cursor.next()) {
      const FreeSpaceHeader header = *cursor.as<FreeSpaceHeader>();
      if (header.num_entries == 0) continue;
      Cursor file((*fs)->root_tree());
      auto at = file.find({header.location.objectid, ItemType::extent_data, 0});
      if (!at || !*at) continue;
      const FileExtent extent = *file.as<FileExtent>();
      const ChunkEntry& chunk = **(*fs)->volume().chunks().find(extent.disk_bytenr);
      CachePage page;
      page.bytes.resize(4096);
      page.offset = chunk.stripes[0].offset + (extent.disk_bytenr - chunk.logical);
      page.pages = extent.num_bytes / 4096;
      if (!devices[0]->read(page.offset, page.bytes)) return std::nullopt;
      return page;
    }
    return std::nullopt;
  }
  // Checksums of the pages, the generation, then entries of an offset and a length.
  le64& first_length() { return as<le64>(bytes, pages * 4 + 8 + 8); }
  void fix_checksum() { as<le32>(bytes) = ~crc32c(~0u, Bytes(bytes).subspan(pages * 4)); }
};

TEST(FreeSpaceCache, ThatIsValidAndWrongIsReportedADamagedOneIsNotUsed_BT046) {
  PristineImage image("space-cache-v1");
  for (bool damaged : {false, true}) {
    Devices devices = image.overlays();
    auto page = CachePage::find(image, devices);
    ASSERT_TRUE(page);
    page->first_length() = page->first_length() - 4096;
    if (!damaged) page->fix_checksum();
    ASSERT_TRUE(devices[0]->write(page->offset, page->bytes));
    auto checked = check_devices(std::move(devices));
    ASSERT_TRUE(checked->result) << checked->error;
    EXPECT_EQ(checked->findings.has("free-space-cache", "cache appears valid but isn't"), !damaged)
        << checked->findings.text();
    EXPECT_EQ(checked->result->problems, damaged ? 0u : 1u) << checked->findings.text();
  }
}

// However little memory there is for records, the findings are the same.
TEST(ExactPasses, FindTheSameInManyRounds) {
  PristineImage image(usual);
  auto findings = [&](size_t memory) {
    Devices devices = image.overlays();
    for (const Spoiled& spoiled : table) {
      const std::string_view name = spoiled.name;
      if (name != "Bytes" && name != "DataRefs") continue;
      EXPECT_TRUE(spoiled.change(image, devices)) << name;
    }
    auto checked = check_devices(std::move(devices), {.memory = memory});
    std::multiset<std::string> texts;
    for (const auto& kept : checked->findings.kept) texts.insert(kept.text);
    return texts;
  };
  EXPECT_EQ(findings(32 << 20), findings(1 << 12));
}

TEST(Memory, ForMoreTreeBlocksThanAllowedIsRefused) {
  PristineImage image(usual);
  auto checked = check_devices(image.overlays(), {.table_memory = 1000});
  EXPECT_FALSE(checked->result);
  EXPECT_NE(checked->error.find("tree blocks need"), std::string::npos) << checked->error;
}

uint64_t number_from(const char* variable, uint64_t otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::strtoull(text, nullptr, 0) : otherwise;
}

// No crash, no hang, whatever is in the image.
TEST(SpoiledAtRandom, EndsWithAVerdict_BT021) {
  constexpr const char* names[] = {usual,    snapshots,       "quota",           "space-cache-v1",
                                   "squota", "mixed-bg-dup",  "log-links-4k",    "backrefs-4k",
                                   "oldest", "raid5-raid1-4", "block-group-tree"};
  const uint64_t first = number_from("KARST_MUTATION_SEED", 1);
  const uint64_t cases =
      std::max<uint64_t>(1, number_from("KARST_MUTATION_CASES", 600) / std::size(names) / 2);
  for (const char* name : names) {
    PristineImage image(name);
    uint64_t problems = 0;
    for (uint64_t seed = first; seed < first + cases; ++seed) {
      SCOPED_TRACE(fmt::format("{}, KARST_MUTATION_SEED={}", name, seed));
      Devices devices = image.overlays();
      Mutator(image, seed)(devices);
      auto checked = check_devices(std::move(devices), {.data_csum = seed % 4 == 0});
      problems += !checked->result || checked->result->problems > 0;
    }
    std::printf("%s: %lu of %lu are broken\n", name, problems, cases);
  }
}

}  // namespace
}  // namespace karst::btrfs::testing

// Files that are spoiled, one thing at a time: inodes, names, file extents, checksums of data.
#include <set>

#include "btrfs/tool/check/testing_spoil.h"

namespace karst::btrfs::testing {
namespace {

// Leaves of subvolumes whose extent items say that they are the parents of what they refer to.
std::set<uint64_t> full_parents(const PristineImage& image, Devices& devices) {
  std::set<uint64_t> parents;
  change_first(image, devices, id::extent_tree, ItemType::metadata_item,
               [&](const Key& key, MutableBytes data, Item&) {
                 bool full = as<ExtentItem>(data).flags & extent_flag::full_backref;
                 if (full && key.offset == 0) parents.insert(key.objectid);
                 return false;
               });
  return parents;
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
    {"RootDirectoryMode", usual,
     item(id::fs_tree, ItemType::inode_item,
          [](const Key& key, MutableBytes data, Item&) {
            if (key.objectid != id::first_free) return false;
            as<InodeItem>(data).mode = S_IFREG | 0755;
            return true;
          }),
     "inode", "root 5 inode 256 has mode 0100755, expect a directory"},
    {"EntryType", usual,
     item(id::fs_tree, ItemType::dir_index,
          [](const Key&, MutableBytes data, Item&) {
            auto& entry = as<DirItem>(data);
            if (entry.type != 1) return false;
            entry.type = 3;
            return true;
          }),
     "inode", "filetype mismatch"},
    {"EncryptedName", usual,
     item(id::fs_tree, ItemType::dir_index,
          [](const Key&, MutableBytes data, Item&) {
            auto& entry = as<DirItem>(data);
            entry.type = entry.type | file_type_encrypted;
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
    {"ExtentTooShort", usual, regular_extent([](FileExtent& e) {
       e.head.ram_bytes = e.offset + e.num_bytes - 4096;
       return true;
     }),
     "inode", "bad file extent"},
    {"FileExtentOfTheFuture", usual, regular_extent([](FileExtent& e) {
       e.head.generation = 1000000;
       return true;
     }),
     "extent-generation", "invalid file extent generation, have 1000000"},
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
    // The extent's other file has checksums rightly.
    {"NodatasumOfOne", usual,
     [](const PristineImage& image, Devices& devices) {
       constexpr uint64_t tree = id::first_free;  // has an extent that another file uses too
       uint64_t owner = 0;
       change_first(
           image, devices, tree, ItemType::extent_data, [&](const Key& key, MutableBytes data, Item&) {
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
    // The leaf belongs to a snapshot as well, so that what it refers to does not name a subvolume.
    {"NodatasumInASharedLeaf", snapshots,
     [](const PristineImage& image, Devices& devices) {
       const std::set<uint64_t> parents = full_parents(image, devices);
       for (uint64_t bytenr : parents) {
         uint64_t with_data = 0;
         auto find = [&](const Key& key, MutableBytes data, Item&) {
           bool regular = data.size() >= sizeof(FileExtent) && as<FileExtent>(data).head.type == 1 &&
                          as<FileExtent>(data).disk_bytenr != 0;
           if (regular) with_data = key.objectid;
           return regular;
         };
         if (!change_in(image, devices, bytenr, ItemType::extent_data, find)) continue;
         auto change = [&](const Key& key, MutableBytes data, Item&) {
           auto& inode = as<InodeItem>(data);
           if (key.objectid == with_data) inode.flags = inode.flags | inode_flag::nodatasum;
           return key.objectid == with_data;
         };
         if (change_in(image, devices, bytenr, ItemType::inode_item, change)) return true;
       }
       return false;
     },
     "inode", "odd csum item"},
    // The checksums of an extent without the first, and an inode that should have none.
    {"NodatasumInPart", usual,
     [](const PristineImage& image, Devices& devices) {
       const Key last = last_checksums(image, devices);
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
       return !owners.empty() && last_checksums_moved(4096)(image, devices);
     },
     "inode", "odd csum item"},
    {"ChecksumsMoved", usual, last_checksums_moved(1ull << 40), "checksum-without-extent",
     "there are no extents for csum range"},
    {"ChecksumsGone", usual, last_checksums_moved(1ull << 40), "inode", "some csum missing"},
};

class SpoiledFiles : public ::testing::TestWithParam<Spoiled> {};
INSTANTIATE_TEST_SUITE_P(Table, SpoiledFiles, ::testing::ValuesIn(table),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

TEST_P(SpoiledFiles, AreFoundAndNamed) { expect_found(GetParam()); }

}  // namespace
}  // namespace karst::btrfs::testing

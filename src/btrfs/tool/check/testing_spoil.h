// Spoiling one thing of an image, for tests that a check finds and names it.
#pragma once
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <functional>

#include "btrfs/format/chunk.h"
#include "btrfs/format/extent.h"
#include "btrfs/format/inode.h"
#include "btrfs/format/superblock.h"
#include "btrfs/tool/check/testing_check.h"

namespace karst::btrfs::testing {

// Spoils the devices, which lie over the image. False if there is nothing to spoil.
using Change = std::function<bool(const PristineImage&, Devices&)>;

struct Spoiled {
  const char* name;
  const char* image;
  Change change;
  const char* id;
  const char* words;
};
inline void PrintTo(const Spoiled& spoiled, std::ostream* out) { *out << spoiled.name; }

inline constexpr const char* usual = "nodesize-4k";
inline constexpr const char* snapshots = "snapshots-4k";

inline Change item(uint64_t tree, ItemType type,
                   std::function<bool(const Key&, MutableBytes, Item&)> change) {
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

inline Change inode(uint32_t type, std::function<void(InodeItem&)> change) {
  return item(id::fs_tree, ItemType::inode_item, [=](const Key& key, MutableBytes data, Item&) {
    auto& inode = as<InodeItem>(data);
    if (key.objectid == id::first_free || (inode.mode & S_IFMT) != type || inode.size == 0) return false;
    change(inode);
    return true;
  });
}

inline Change extent(std::function<bool(ExtentItem&, MutableBytes)> change, uint64_t flag) {
  return [=](const PristineImage& image, Devices& devices) {
    auto visit = [&](const Key&, MutableBytes data, Item&) {
      auto& extent = as<ExtentItem>(data);
      return (extent.flags & flag) != 0 && change(extent, data);
    };
    return change_first(image, devices, id::extent_tree, ItemType::extent_item, visit) ||
           change_first(image, devices, id::extent_tree, ItemType::metadata_item, visit);
  };
}

inline Change regular_extent(std::function<bool(FileExtent&)> change) {
  return item(id::fs_tree, ItemType::extent_data, [=](const Key&, MutableBytes data, Item&) {
    if (data.size() < sizeof(FileExtent)) return false;
    auto& extent = as<FileExtent>(data);
    return extent.head.type == 1 && extent.disk_bytenr != 0 && extent.head.compression == 0 && change(extent);
  });
}

inline Change super(std::function<void(Superblock&)> change) {
  return [=](const PristineImage&, Devices& devices) {
    for (auto& device : devices) for_each_superblock(*device, [&](Superblock& super) { change(super); });
    return true;
  };
}

// Of the checksum tree's items the last one with several checksums.
inline Key last_checksums(const PristineImage& image, Devices& devices) {
  Key last;
  change_first(image, devices, id::csum_tree, ItemType::extent_csum,
               [&](const Key& key, MutableBytes data, Item&) {
                 if (data.size() > sizeof(le32)) last = std::max(last, key);
                 return false;
               });
  return last;
}

// Moves that item to higher addresses, where it does not get out of order.
inline Change last_checksums_moved(uint64_t bytes) {
  return [=](const PristineImage& image, Devices& devices) {
    const Key last = last_checksums(image, devices);
    return change_first(image, devices, id::csum_tree, ItemType::extent_csum,
                        [&](const Key& key, MutableBytes, Item& head) {
                          if (key == last) head.key.offset = key.offset + bytes;
                          return key == last;
                        });
  };
}

// The image is clean without the change; with it, the finding is there, for any number of threads.
inline void expect_found(const Spoiled& spoiled) {
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

}  // namespace karst::btrfs::testing

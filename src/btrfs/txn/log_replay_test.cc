// The replay on hand-made trees: what a log says, and what becomes of the subvolume. The facts are Linux's
// (fs/btrfs/tree-log.c); log_oracle_test.cc compares with the kernel itself.
#include <gtest/gtest.h>

#include <map>

#include "btrfs/txn/checksum_items.h"
#include "btrfs/txn/file_extents.h"
#include "btrfs/txn/inode_items.h"
#include "btrfs/txn/links.h"
#include "btrfs/txn/name_parts.h"
#include "btrfs/txn/replay.h"

namespace karst::btrfs {
namespace {

constexpr uint32_t sector = 4096;
constexpr uint64_t root = 256;    // the subvolume's top directory
constexpr uint64_t transid = 11;  // of the replay
constexpr uint64_t all = ~0ull;

class MapStore final : public ItemStore {
 public:
  Result<std::optional<StoredItem>> find(const Key& key) override { return at(items_.find(key)); }
  Result<std::optional<StoredItem>> seek(const Key& key) override { return at(items_.lower_bound(key)); }
  Result<std::optional<StoredItem>> seek_back(const Key& key) override {
    auto after = items_.upper_bound(key);
    return at(after == items_.begin() ? items_.end() : std::prev(after));
  }
  Result<void> insert(const Key& key, Bytes data) override {
    if (!items_.try_emplace(key, data.begin(), data.end()).second)
      return Error(err::item_conflict, "there already");
    return {};
  }
  Result<void> replace(const Key& key, Bytes data) override {
    auto found = items_.find(key);
    if (found == items_.end()) return Error(err::item_conflict, "not there");
    found->second.assign(data.begin(), data.end());
    return {};
  }
  Result<void> erase(const Key& key) override {
    if (items_.erase(key) == 0) return Error(err::item_conflict, "not there");
    return {};
  }
  uint32_t item_size_max() const override { return 400; }

 private:
  using Items = std::map<Key, std::vector<std::byte>>;
  std::optional<StoredItem> at(Items::const_iterator item) const {
    if (item == items_.end()) return std::nullopt;
    return StoredItem{item->first, item->second};
  }
  Items items_;
};

struct Inode {
  uint32_t mode = mode::regular | 0644;
  uint64_t size = 0;
  uint64_t generation = 5;
  uint32_t nlink = 1;
  uint64_t nbytes = 0;
};
constexpr Inode directory{mode::directory | 0755};

// A subvolume, its log, and the words to fill both.
class LogReplay : public testing::Test {
 protected:
  LogReplay() {
    geometry_.sectorsize = sector;
    geometry_.checksum_size = 4;
    geometry_.incompat = incompat::no_holes;
    inode(items_, root, directory);
    reference(items_, root, root, 0, "..");
  }

  static void inode(ItemStore& store, uint64_t number, const Inode& is) {
    InodeItem item{};
    item.mode = is.mode;
    item.size = is.size;
    item.generation = is.generation;
    item.nlink = is.nlink;
    item.nbytes = is.nbytes;
    put(store, inode_key(number), bytes_of(item));
  }
  static void put(ItemStore& store, const Key& key, Bytes bytes) { ASSERT_TRUE(store.put(key, bytes)); }

  static void entry(ItemStore& store, uint64_t parent, uint64_t index, std::string_view name, Key location,
                    FileType type = FileType::regular) {
    DirItem item{DiskKey::from(location), 5, 0, static_cast<uint16_t>(name.size()),
                 static_cast<uint8_t>(type)};
    put(store, {parent, ItemType::dir_index, index}, packed(item, name));
  }
  static void reference(ItemStore& store, uint64_t number, uint64_t parent, uint64_t index,
                        std::string_view name) {
    auto bytes = packed(InodeRef{index, static_cast<uint16_t>(name.size())}, name);
    ASSERT_TRUE(append_to_item(store, {number, ItemType::inode_ref, parent}, bytes).value());
  }
  // A name in the subvolume, with all that belongs to it.
  void link(uint64_t parent, uint64_t index, std::string_view name, uint64_t number) {
    ASSERT_TRUE(add_link(items_, parent, index, name, number, WithReference::yes, 5).value());
  }
  void file(uint64_t index, std::string_view name, uint64_t number, const Inode& is = {}) {
    inode(items_, number, is);
    link(root, index, name, number);
  }
  void logged_range(uint64_t parent, uint64_t first, uint64_t last) {
    put(log_, {parent, ItemType::dir_log_index, first}, bytes_of(DirLogItem{last}));
  }
  static void attribute(ItemStore& store, uint64_t number, std::string_view name, std::string_view value) {
    DirItem item{{}, 5, static_cast<uint16_t>(value.size()), static_cast<uint16_t>(name.size()), 8};
    auto bytes = packed(item, std::string(name) + std::string(value));
    ASSERT_TRUE(append_to_item(store, {number, ItemType::xattr_item, name_hash(name)}, bytes).value());
  }
  static void extent(ItemStore& store, uint64_t number, uint64_t offset, uint64_t length,
                     uint64_t disk_bytenr, FileExtentType type = FileExtentType::regular) {
    FileExtent item{};
    item.head.ram_bytes = length;
    item.head.type = static_cast<uint8_t>(type);
    item.disk_bytenr = disk_bytenr;
    item.disk_num_bytes = disk_bytenr == 0 ? 0 : length;
    item.num_bytes = length;
    put(store, file_extent_key(number, offset), bytes_of(item));
  }
  static void checksums(ItemStore& store, uint64_t logical, std::string_view sums) {
    put(store, {id::extent_csum, ItemType::extent_csum, logical}, as_bytes(sums));
  }

  void replay() {
    Replay replay{log_, items_, checksums_, geometry_, transid};
    auto done = replay_subvolume(replay);
    ASSERT_TRUE(done) << done.error().message();
  }

  // The inode a name leads to, 0 if there is none.
  uint64_t named(std::string_view name, uint64_t parent = root) {
    auto target = find_entry(items_, parent, name).value();
    return target ? target->location.objectid : 0;
  }
  InodeItem now(uint64_t number) { return get_inode(items_, number).value(); }
  bool is_orphan(uint64_t number) {
    return items_.find({id::orphan, ItemType::orphan_item, number}).value().has_value();
  }
  // "0+4096@disk 8192+4096@disk": offset, length and place of each extent.
  std::string extents(uint64_t number) {
    std::string text;
    for (auto item = *items_.seek(file_extent_key(number, 0));
         item && item->key.objectid == number && item->key.type == ItemType::extent_data;
         item = *items_.seek(item->key.successor())) {
      const auto& is = *overlay<FileExtent>(item->data);
      text += fmt::format("{}{}+{}@{}", text.empty() ? "" : " ", item->key.offset, is.num_bytes,
                          is.disk_bytenr == 0 ? 0 : is.disk_bytenr + is.offset);
    }
    return text;
  }
  // "4096:aaaabbbb 16384:cccc"
  static std::string sums(ItemStore& store) {
    std::string text;
    for (auto item = *store.seek(Key::min()); item; item = *store.seek(item->key.successor()))
      text += fmt::format("{}{}:{}", text.empty() ? "" : " ", item->key.offset, as_text(item->data));
    return text;
  }

  Geometry geometry_;
  MapStore log_, items_, checksums_;
};

TEST_F(LogReplay, NewFileInNewDirectoryAppears_BT005) {
  inode(log_, 260, directory);
  reference(log_, 260, root, 7, "dir");
  inode(log_, 261, {.size = 100});
  reference(log_, 261, 260, 2, "file");
  replay();
  EXPECT_EQ(named("dir"), 260u);
  EXPECT_EQ(named("file", 260), 261u);
  EXPECT_EQ(now(261).size, 100u);
  EXPECT_EQ(now(260).size, 8u) << "twice the length of its names";
}

TEST_F(LogReplay, EntryThatTheLoggedRangeLacksIsRemoved_BT005) {
  file(2, "kept", 260);
  file(3, "removed", 261);
  file(9, "outside", 262);
  inode(log_, root, directory);
  entry(log_, root, 2, "kept", inode_key(260));
  logged_range(root, 2, 8);
  replay();
  EXPECT_EQ(named("kept"), 260u);
  EXPECT_EQ(named("removed"), 0u);
  EXPECT_EQ(named("outside"), 262u);
}

TEST_F(LogReplay, InodeWithoutNamesBecomesAnOrphan_BT036) {
  file(2, "removed", 260);
  file(3, "one of two", 261);
  inode(items_, 270, directory);
  link(root, 9, "dir", 270);
  link(270, 2, "other", 261);
  inode(log_, root, directory);
  logged_range(root, 2, 4);
  replay();
  EXPECT_TRUE(is_orphan(260));
  EXPECT_FALSE(is_orphan(261));
  EXPECT_EQ(now(261).nlink, 1u);
}

TEST_F(LogReplay, DirectoryThatLosesItsNameLosesItsEntries_BT036) {
  inode(items_, 270, directory);
  link(root, 2, "dir", 270);
  inode(items_, 271, directory);
  link(270, 2, "inner", 271);
  inode(items_, 272, {});
  link(271, 2, "file", 272);
  inode(log_, root, directory);
  logged_range(root, 0, all);
  replay();
  EXPECT_EQ(named("inner", 270), 0u);
  EXPECT_EQ(named("file", 271), 0u);
  EXPECT_TRUE(is_orphan(270) && is_orphan(271) && is_orphan(272));
}

TEST_F(LogReplay, LoggedInodeWithoutLinksIsLeftOut_BT036) {
  file(2, "file", 260, {.size = 10});
  inode(log_, 260, {.size = 99, .nlink = 0});
  reference(log_, 260, root, 5, "again");
  replay();
  EXPECT_EQ(now(260).size, 10u);
  EXPECT_EQ(named("again"), 0u);
}

TEST_F(LogReplay, InodeLoggedToExistKeepsItsItem_BT005) {
  file(2, "unsized", 260, {.size = 5000, .nbytes = 8192});
  file(3, "sized", 261, {.size = 5000, .nbytes = 8192});
  inode(log_, 260, {.mode = mode::regular | 0600, .size = 0, .generation = 0});
  inode(log_, 261, {.mode = mode::regular | 0600, .size = 7000, .generation = 0});
  replay();
  EXPECT_EQ(now(260).size, 5000u);
  EXPECT_EQ(now(261).size, 7000u);
  EXPECT_EQ(now(261).mode, mode::regular | 0644u);
  EXPECT_EQ(now(261).generation, 5u);
}

TEST_F(LogReplay, NewInodeLoggedToExistIsOfThisTransaction_BT005) {
  inode(log_, 260, {.generation = 0, .nbytes = 4096});
  reference(log_, 260, root, 5, "new");
  replay();
  EXPECT_EQ(now(260).generation, transid);
  EXPECT_EQ(now(260).nbytes, 0u);
}

TEST_F(LogReplay, ReferencesOfTheLogAreAllThatTheInodeHasInThatDirectory_BT005) {
  file(2, "old", 260);
  link(root, 3, "older", 260);
  inode(log_, 260, {});
  reference(log_, 260, root, 3, "older");
  reference(log_, 260, root, 8, "new");
  replay();
  EXPECT_EQ(named("old"), 0u);
  EXPECT_EQ(named("older"), 260u);
  EXPECT_EQ(named("new"), 260u);
  EXPECT_EQ(now(260).nlink, 2u);
  EXPECT_EQ(now(root).size, 2 * std::string_view("oldernew").size());
}

TEST_F(LogReplay, NameTakenByAnotherInodeGoesToTheLoggedOne_BT005) {
  file(2, "name", 260);
  inode(log_, 261, {});
  reference(log_, 261, root, 6, "name");
  replay();
  EXPECT_EQ(named("name"), 261u);
  EXPECT_FALSE(find_entry_at(items_, root, 2, "name").value());
  EXPECT_TRUE(is_orphan(260));
}

TEST_F(LogReplay, ReferenceToAnUnknownDirectoryIsPassedOver_BT005) {
  file(2, "file", 260);
  inode(log_, 260, {});
  reference(log_, 260, 300, 6, "elsewhere");
  replay();
  EXPECT_EQ(now(260).nlink, 1u);
}

TEST_F(LogReplay, ExtendedReferencesAreReplaced_BT005) {
  file(2, "file", 260);
  reference(log_, 260, root, 2, "file");
  InodeExtref extref{root, 7, 6};
  put(log_, {260, ItemType::inode_extref, extref_hash(root, "extref")}, packed(extref, "extref"));
  inode(log_, 260, {.nlink = 2});
  replay();
  EXPECT_EQ(named("extref"), 260u);
  EXPECT_EQ(now(260).nlink, 2u);
}

TEST_F(LogReplay, EntryWithoutLoggedReferenceGetsOne_BT005) {
  file(2, "file", 260);
  inode(log_, root, directory);
  entry(log_, root, 5, "second", inode_key(260));
  replay();
  EXPECT_EQ(named("second"), 260u);
  EXPECT_TRUE(has_reference(items_, 260, root, "second").value());
  EXPECT_EQ(now(260).nlink, 2u);
}

TEST_F(LogReplay, EntryOfAnInodeThatDoesNotExistIsPassedOver_BT005) {
  file(2, "taken", 260);
  inode(log_, root, directory);
  entry(log_, root, 5, "new", inode_key(299));
  entry(log_, root, 6, "taken", inode_key(299));
  replay();
  EXPECT_EQ(named("new"), 0u);
  EXPECT_EQ(named("taken"), 260u);
}

TEST_F(LogReplay, EntryReplacesTheOneOfAnotherInode_BT005) {
  file(2, "name", 260);
  file(3, "other", 261);
  inode(log_, root, directory);
  entry(log_, root, 5, "name", inode_key(261));
  replay();
  EXPECT_EQ(named("name"), 261u);
  EXPECT_TRUE(is_orphan(260));
}

TEST_F(LogReplay, EntryOfASubvolumeInASnapshotIsRemovedByItsRange_BT005) {
  Key subvolume{300, ItemType::root_item, all};
  entry(items_, root, 2, "stub", subvolume, FileType::directory);
  auto item = *items_.find({root, ItemType::dir_index, 2});
  std::vector<std::byte> bytes(item->data.begin(), item->data.end());
  put(items_, {root, ItemType::dir_item, name_hash("stub")}, bytes);
  inode(log_, root, directory);
  logged_range(root, 0, 10);
  replay();
  EXPECT_EQ(named("stub"), 0u);
}

TEST_F(LogReplay, FileTakesTheNameOfASubvolumesEntry_BT005) {
  entry(items_, root, 2, "stub", {300, ItemType::root_item, all}, FileType::directory);
  auto item = *items_.find({root, ItemType::dir_index, 2});
  std::vector<std::byte> bytes(item->data.begin(), item->data.end());
  put(items_, {root, ItemType::dir_item, name_hash("stub")}, bytes);
  inode(log_, 261, {});
  reference(log_, 261, root, 6, "stub");
  replay();
  EXPECT_EQ(named("stub"), 261u);
  EXPECT_FALSE(find_entry_at(items_, root, 2, "stub").value());
}

TEST_F(LogReplay, ReferencesThatDoNotFitAreExtended_BT005) {
  file(2, std::string(200, 'a'), 260);
  inode(log_, root, directory);
  entry(log_, root, 5, std::string(220, 'b'), inode_key(260));
  replay();
  EXPECT_TRUE(has_extref(items_, 260, root, std::string(220, 'b')).value());
  EXPECT_EQ(now(260).nlink, 2u);
}

TEST_F(LogReplay, ContradictionsEndInAnError_BT005) {
  file(2, "one", 260);
  inode(log_, 261, {});
  reference(log_, 261, root, 2, "other name at the same index");
  Replay replay{log_, items_, checksums_, geometry_, transid};
  auto done = replay_subvolume(replay);
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().is(karst::err::corrupt)) << done.error().message();
}

TEST_F(LogReplay, AttributesThatTheLogLacksAreRemoved_BT005) {
  file(2, "file", 260);
  attribute(items_, 260, "user.gone", "x");
  attribute(items_, 260, "user.changed", "before");
  attribute(log_, 260, "user.changed", "after");
  inode(log_, 260, {});
  replay();
  EXPECT_FALSE(items_.find({260, ItemType::xattr_item, name_hash("user.gone")}).value());
  auto changed = *items_.find({260, ItemType::xattr_item, name_hash("user.changed")});
  EXPECT_TRUE(as_text(changed->data).ends_with("user.changedafter"));
}

TEST_F(LogReplay, ExtentsPastTheEndGoBeforeLoggedOnesCome_BT005) {
  file(2, "file", 260, {.size = 5 * sector, .nbytes = 5 * sector});
  extent(items_, 260, 0, 5 * sector, 1 << 20);
  inode(log_, 260, {.size = sector + 1});
  extent(log_, 260, 8 * sector, sector, 2 << 20, FileExtentType::prealloc);
  replay();
  EXPECT_EQ(extents(260), "0+8192@1048576 32768+4096@2097152");
  EXPECT_EQ(now(260).nbytes, 3u * sector);
}

TEST_F(LogReplay, ExtentIsLaidOverOthers_BT005) {
  file(2, "file", 260, {.size = 8 * sector, .nbytes = 8 * sector});
  extent(items_, 260, 0, 4 * sector, 1 << 20);
  extent(items_, 260, 4 * sector, 4 * sector, 2 << 20);
  inode(log_, 260, {.size = 8 * sector});
  extent(log_, 260, 2 * sector, 4 * sector, 4 << 20);
  replay();
  EXPECT_EQ(extents(260), "0+8192@1048576 8192+16384@4194304 24576+8192@2105344");
  EXPECT_EQ(now(260).nbytes, 8u * sector);
}

TEST_F(LogReplay, HoleSplitsAnExtent_BT005) {
  file(2, "file", 260, {.size = 4 * sector, .nbytes = 4 * sector});
  extent(items_, 260, 0, 4 * sector, 1 << 20);
  inode(log_, 260, {.size = 4 * sector});
  extent(log_, 260, sector, sector, 0);
  replay();
  EXPECT_EQ(extents(260), "0+4096@1048576 8192+8192@1056768");
  EXPECT_EQ(now(260).nbytes, 3u * sector);
}

TEST_F(LogReplay, HoleIsWrittenDownWithoutNoHoles_BT005) {
  geometry_.incompat = 0;
  file(2, "file", 260, {.size = sector});
  inode(log_, 260, {.size = sector});
  extent(log_, 260, 0, sector, 0);
  replay();
  EXPECT_EQ(extents(260), "0+4096@0");
}

TEST_F(LogReplay, ChecksumsComeWithTheirExtent_BT006) {
  checksums(checksums_, 16 * sector, "aaaabbbbccccdddd");
  checksums(log_, 17 * sector, "BBBBCCCC");
  file(2, "file", 260);
  inode(log_, 260, {.size = 2 * sector});
  extent(log_, 260, 0, 2 * sector, 17 * sector);
  replay();
  EXPECT_EQ(sums(checksums_), "65536:aaaa 69632:BBBBCCCC 77824:dddd");
}

TEST_F(LogReplay, OnlyTheChecksumsOfTheShownPartAreReplayed_BT006) {
  checksums(log_, 16 * sector, "AAAABBBBCCCCDDDD");
  inode(log_, 260, {.size = 2 * sector});
  FileExtent item{};
  item.head.type = 1;
  item.head.ram_bytes = item.disk_num_bytes = 4 * sector;
  item.disk_bytenr = 16 * sector;
  item.offset = sector;
  item.num_bytes = 2 * sector;
  put(log_, file_extent_key(260, 0), bytes_of(item));
  replay();
  EXPECT_EQ(sums(checksums_), "69632:BBBBCCCC");
}

// Checksums of sectors 16 … 19 are a … d, of 24 a; erased from … to.
TEST_F(LogReplay, ErasingChecksumsCutsItems_BT006) {
  struct {
    uint64_t from, to;
    const char* left;
  } table[] = {
      {0, 16, "65536:aaaabbbbccccdddd 98304:aaaa"},
      {16, 17, "69632:bbbbccccdddd 98304:aaaa"},
      {17, 18, "65536:aaaa 73728:ccccdddd 98304:aaaa"},
      {19, 30, "65536:aaaabbbbcccc"},
      {0, 99, ""},
  };
  for (const auto& row : table) {
    MapStore store;
    checksums(store, 16 * sector, "aaaabbbbccccdddd");
    checksums(store, 24 * sector, "aaaa");
    ASSERT_TRUE(erase_checksums(store, row.from * sector, row.to * sector, geometry_));
    EXPECT_EQ(sums(store), row.left) << row.from << " … " << row.to;
  }
}

}  // namespace
}  // namespace karst::btrfs

// Images made by hand to loop, explode or overflow. mutation_test.cc finds such things by chance; these are
// the ones that someone would build on purpose (BT-021, BT-023, CO-007).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "btrfs/file/names.h"
#include "btrfs/tool/testing_mutation.h"
#include "btrfs/tool/walk.h"

namespace karst::btrfs::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

template <typename T>
T& as(MutableBytes bytes, size_t offset = 0) {
  return *reinterpret_cast<T*>(bytes.data() + offset);
}

Header& header_of(MutableBytes block) { return as<Header>(block); }
KeyPtr& pointer_of(MutableBytes block, uint32_t slot) {
  return as<KeyPtr>(block, sizeof(Header) + slot * sizeof(KeyPtr));
}
Item& item_of(MutableBytes block, uint32_t slot) {
  return as<Item>(block, sizeof(Header) + slot * sizeof(Item));
}

class Hostile : public ::testing::Test {
 protected:
  // Uses all of the image so spoiled. It must not take long.
  Outcome use(const PristineImage& pristine, FunctionRef<void(Devices&)> spoil) {
    const double before = cpu_seconds();
    Outcome outcome = Exerciser().run(pristine, spoil);
    EXPECT_LT(cpu_seconds() - before, 10) << pristine.name();
    return outcome;
  }
  // Opens the image so spoiled, to look at it more closely.
  Result<std::unique_ptr<Image>> open(const PristineImage& pristine, FunctionRef<void(Devices&)> spoil) {
    Devices devices = pristine.overlays();
    spoil(devices);
    return Image::open_on(std::move(devices), pristine.options(), cache_, Logger(log_));
  }
  // Walks all of it; the errors on the way.
  static std::vector<std::string> walk(const Image& image, const Located& start, uint64_t entries_max) {
    std::vector<std::string> errors;
    Walker walker(image.fs(), start);
    for (uint64_t entries = 0;; ++entries) {
      if (entries > entries_max) return {"the walk does not end"};
      auto entry = walker.next();
      if (!entry)
        errors.push_back(entry.error().message());
      else if (!*entry)
        return errors;
    }
  }
  static std::vector<std::string> walk(const Image& image) {
    return walk(image, *resolve(image.fs(), image.root(), ""), 100'000);
  }

  cache::Cache cache_;
  MemorySink log_;
};

// A node of the top-level subvolume with two children or more.
const BlockCollector::Found& some_node(const PristineImage& pristine, uint8_t level = 1) {
  for (const auto& block : pristine.blocks())
    if (block.owner == id::fs_tree && block.level == level &&
        block.used >= sizeof(Header) + 2 * sizeof(KeyPtr))
      return block;
  throw std::runtime_error("no such node");
}

TEST_F(Hostile, NodeThatIsItsOwnChild_BT021) {
  PristineImage pristine("levels-4k");
  for (uint8_t level : {1, 2}) {
    const auto& node = some_node(pristine, level);
    Outcome outcome = use(pristine, [&](Devices& devices) {
      pristine.change_block(devices, node.bytenr, [&](MutableBytes block) {
        pointer_of(block, 0).blockptr = node.bytenr;
        pointer_of(block, 0).generation = header_of(block).generation;
      });
    });
    EXPECT_GT(outcome.errors, 0u);
  }
}

TEST_F(Hostile, NodeWithTheSameChildManyTimes_BT021) {
  PristineImage pristine("levels-4k");
  const auto& node = some_node(pristine);
  Outcome outcome = use(pristine, [&](Devices& devices) {
    pristine.change_block(devices, node.bytenr, [&](MutableBytes block) {
      for (uint32_t slot = 1; slot < header_of(block).nritems; ++slot) {
        pointer_of(block, slot).blockptr = pointer_of(block, 0).blockptr;
        pointer_of(block, slot).generation = pointer_of(block, 0).generation;
      }
    });
  });
  EXPECT_GT(outcome.errors, 0u);
}

// Levels of nodes whose children are all one node: read naively, 100 to the power of the levels.
TEST_F(Hostile, NodesThatShareTheirChildrenThroughSeveralLevels_BT021) {
  PristineImage pristine("levels-4k");
  std::map<uint8_t, uint64_t> first;
  for (const auto& block : pristine.blocks())
    if (block.owner == id::fs_tree) first.try_emplace(block.level, block.bytenr);
  ASSERT_GE(first.size(), 3u);
  Outcome outcome = use(pristine, [&](Devices& devices) {
    for (uint8_t level = 1; first.contains(level); ++level)
      pristine.change_block(devices, first[level], [&](MutableBytes block) {
        const KeyPtr child = pointer_of(block, 0);
        header_of(block).nritems = max_key_ptrs(4096);
        for (uint32_t slot = 1; slot < header_of(block).nritems; ++slot) {
          pointer_of(block, slot) = child;
          pointer_of(block, slot).key.offset = child.key.offset + slot;
        }
      });
  });
  EXPECT_GT(outcome.errors, 0u);
}

// Where one directory lies in another, their names equally long so that names can be exchanged in place.
struct Nested {
  uint64_t outer, inner;  // inodes
  uint64_t outer_parent;
  uint64_t inner_index;  // of inner's entry in outer
  std::string path;      // of outer
  std::string outer_name, inner_name;
};

std::vector<Nested> nested_directories(const Image& image) {
  std::vector<Nested> found;
  struct Directory {
    uint64_t parent, index;
    std::string path, name;
  };
  std::map<uint64_t, Directory> directories;
  Walker walker(image.fs(), *resolve(image.fs(), image.root(), ""), {.cross_subvolumes = false});
  while (auto entry = *walker.next()) {
    if (!entry->attributes.is_directory() || entry->id.subvolume != id::fs_tree || entry->path.empty())
      continue;
    Cursor cursor(*image.fs().tree(id::fs_tree));
    uint64_t index = 0;
    (void)for_each_link(cursor, entry->id.inode, [&](const Link& link) -> Result<void> {
      index = link.index;
      return {};
    });
    directories[entry->id.inode] = {entry->parent.inode, index, std::string(entry->path),
                                    std::string(entry->name)};
  }
  for (const auto& [inode, directory] : directories) {
    auto outer = directories.find(directory.parent);
    if (outer == directories.end()) continue;
    found.push_back({outer->first, inode, outer->second.parent, directory.index, outer->second.path,
                     outer->second.name, directory.name});
  }
  return found;
}

std::vector<Nested> nested_directories(const PristineImage& pristine) {
  cache::Cache cache;
  return nested_directories(**Image::open_on(pristine.overlays(), pristine.options(), cache, Logger()));
}

TEST_F(Hostile, DirectoryThatContainsItself) {
  PristineImage pristine("levels-4k");
  bool tried = false;
  for (const Nested& nested : nested_directories(pristine)) {
    if (nested.outer_name.size() != nested.inner_name.size() || nested.outer < nested.outer_parent) continue;
    auto image = open(pristine, [&](Devices& devices) {
      // The entry of the inner one leads to the outer one, which says that this is its only name.
      EXPECT_TRUE(pristine.change_item(
          devices, id::fs_tree, {nested.outer, ItemType::dir_index, nested.inner_index},
          [&](MutableBytes item, Item&) { as<DirItem>(item).location.objectid = nested.outer; }));
      EXPECT_TRUE(pristine.change_item(devices, id::fs_tree,
                                       {nested.outer, ItemType::inode_ref, nested.outer_parent},
                                       [&](MutableBytes item, Item& head) {
                                         head.key.offset = nested.outer;
                                         as<InodeRef>(item).index = nested.inner_index;
                                         std::copy(nested.inner_name.begin(), nested.inner_name.end(),
                                                   reinterpret_cast<char*>(item.data() + sizeof(InodeRef)));
                                       }));
    });
    ASSERT_TRUE(image) << image.error().message();
    Cursor cursor(*(*image)->fs().tree(id::fs_tree));
    auto start = resolve((*image)->fs(), (*image)->root(), nested.path);
    auto moved = cursor.find({nested.outer, ItemType::inode_ref, nested.outer});
    if (!start || !moved)
      continue;  // the changed key was the first of its leaf, and does not agree with the node above
    tried = true;
    EXPECT_THAT(walk(**image, *start, 100'000), Contains(HasSubstr("directory contains itself")));
    EXPECT_THAT(walk(**image), Contains(HasSubstr("directory-loop")));
    auto path = path_in_subvolume(cursor, nested.outer);
    ASSERT_FALSE(path);
    EXPECT_THAT(path.error().message(), HasSubstr("directories contain each other"));
    break;
  }
  EXPECT_TRUE(tried) << "the image has no such directories";
}

// Two entries for one directory; in each level of a tree of them, that doubles what a walk visits.
TEST_F(Hostile, DirectoryListedTwiceIsEnteredOnce) {
  PristineImage pristine("levels-4k");
  std::map<uint64_t, std::vector<Nested>> children;
  for (const Nested& nested : nested_directories(pristine)) children[nested.outer].push_back(nested);
  // A directory with directories in it, and another one beside it whose entry can be made to lead there too.
  const Nested *listed = nullptr, *other = nullptr;
  for (const auto& [outer, list] : children)
    for (const Nested& one : list)
      for (const Nested& two : list)
        if (&one != &two && one.inner_name.size() == two.inner_name.size() && children.contains(one.inner))
          listed = &one, other = &two;
  ASSERT_NE(listed, nullptr) << "the image has no such directories";
  auto image = open(pristine, [&](Devices& devices) {
    EXPECT_TRUE(pristine.change_item(devices, id::fs_tree,
                                     {listed->outer, ItemType::dir_index, other->inner_index},
                                     [&](MutableBytes item, Item&) {
                                       as<DirItem>(item).location.objectid = listed->inner;
                                       std::copy(listed->inner_name.begin(), listed->inner_name.end(),
                                                 reinterpret_cast<char*>(item.data() + sizeof(DirItem)));
                                     }));
  });
  ASSERT_TRUE(image) << image.error().message();
  size_t given = 0;
  Walker walker((*image)->fs(), *resolve((*image)->fs(), (*image)->root(), listed->path));
  for (;;) {
    auto entry = walker.next();
    if (!entry) continue;
    if (!*entry) break;
    given += (*entry)->parent.inode == listed->inner && (*entry)->attributes.is_directory();
  }
  EXPECT_LE(given, children[listed->inner].size());
  EXPECT_GT(given, 0u);
}

TEST_F(Hostile, SubvolumeThatContainsItself) {
  PristineImage pristine("subvolumes");
  // A subvolume below another one than the top level, and its names there.
  std::vector<Subvolume> list;
  {
    cache::Cache cache;
    auto image = Image::open_on(pristine.overlays(), pristine.options(), cache, Logger());
    list = *list_subvolumes((*image)->fs());
  }
  int tried = 0;
  for (const Subvolume& child : list) {
    if (!child.linked || child.parent == id::fs_tree || child.parent == 0) continue;
    const uint64_t parent = child.parent;
    auto grandparent =
        std::find_if(list.begin(), list.end(), [&](const Subvolume& one) { return one.id() == parent; });
    auto image = open(pristine, [&](Devices& devices) {
      // The child's name leads to the parent, and the parent's own name is below itself.
      (void)pristine.change_item(devices, id::root_tree, {parent, ItemType::root_ref, child.id()},
                                 [&](MutableBytes, Item& head) { head.key.offset = parent; });
      (void)pristine.change_item(devices, id::root_tree,
                                 {parent, ItemType::root_backref, grandparent->parent},
                                 [&](MutableBytes, Item& head) { head.key.offset = parent; });
      for (const auto& block : pristine.blocks()) {
        if (block.owner != parent || block.level != 0) continue;
        pristine.change_block(devices, block.bytenr, [&](MutableBytes bytes) {
          for (uint32_t slot = 0; slot < header_of(bytes).nritems; ++slot) {
            const Item item = item_of(bytes, slot);
            if (item.key.type != uint8_t(ItemType::dir_index) && item.key.type != uint8_t(ItemType::dir_item))
              continue;
            auto& entry = as<DirItem>(bytes, sizeof(Header) + item.offset);
            if (entry.location.type == uint8_t(ItemType::root_item) && entry.location.objectid == child.id())
              entry.location.objectid = parent;
          }
        });
      }
    });
    if (!image) continue;
    ++tried;
    EXPECT_THAT(walk(**image), ::testing::Not(Contains(HasSubstr("does not end"))));
    auto again = list_subvolumes((*image)->fs());
    ASSERT_TRUE(again);
    auto itself =
        std::find_if(again->begin(), again->end(), [&](const Subvolume& one) { return one.id() == parent; });
    ASSERT_NE(itself, again->end());
    EXPECT_EQ(itself->path, "");
    EXPECT_THAT(log_.lines(), Contains(HasSubstr("subvolumes contain each other")));
    auto start = attributes_of((*image)->fs(), {parent, id::first_free}, {});
    ASSERT_TRUE(start);
    EXPECT_THAT(walk(**image, Located{{parent, id::first_free}, {parent, id::first_free}, *start}, 100'000),
                Contains(HasSubstr("linked more than once")));
  }
  EXPECT_GT(tried, 0);
}

// The first regular file with one extent on disk of some length, and the key of that extent.
struct Target {
  std::string path;
  uint64_t inode;
};

Target some_file(const PristineImage& pristine, uint64_t least) {
  cache::Cache cache;
  auto image = *Image::open_on(pristine.overlays(), pristine.options(), cache, Logger());
  Walker walker(image->fs(), *resolve(image->fs(), image->root(), ""), {.cross_subvolumes = false});
  while (auto entry = *walker.next()) {
    const Attributes& file = entry->attributes;
    if (!file.is_regular() || file.size < least || entry->id.subvolume != id::fs_tree) continue;
    Cursor cursor(*image->fs().tree(id::fs_tree));
    ExtentWalker extents(cursor, file.inode, file.size, image->fs().geometry().sectorsize);
    auto range = *extents.seek(0);
    if (range->kind == RangeKind::data && range->offset == 0) return {std::string(entry->path), file.inode};
  }
  throw std::runtime_error("no such file");
}

TEST_F(Hostile, FileOfEightEiBAndMore_CO007) {
  PristineImage pristine("single-1");
  const Target target = some_file(pristine, 1);
  for (uint64_t size :
       {uint64_t{1} << 40, uint64_t{1} << 62, uint64_t{INT64_MAX}, uint64_t{1} << 63, ~uint64_t{0}}) {
    Outcome outcome = use(pristine, [&](Devices& devices) {
      EXPECT_TRUE(pristine.change_item(devices, id::fs_tree, {target.inode, ItemType::inode_item, 0},
                                       [&](MutableBytes item, Item&) { as<InodeItem>(item).size = size; }));
    });
    EXPECT_TRUE(outcome.opened);
    EXPECT_LT(outcome.archive_bytes, 64u << 20) << size;
  }
}

TEST_F(Hostile, ExtentOfEightEiB_CO007) {
  PristineImage pristine("single-1");
  const Target target = some_file(pristine, 4096);
  for (bool on_disk_too : {false, true})
    for (uint64_t length : {uint64_t{1} << 40, uint64_t{1} << 62}) {
      Outcome outcome = use(pristine, [&](Devices& devices) {
        EXPECT_TRUE(
            pristine.change_item(devices, id::fs_tree, {target.inode, ItemType::inode_item, 0},
                                 [&](MutableBytes item, Item&) { as<InodeItem>(item).size = length; }));
        EXPECT_TRUE(pristine.change_item(devices, id::fs_tree, {target.inode, ItemType::extent_data, 0},
                                         [&](MutableBytes item, Item&) {
                                           as<FileExtent>(item).num_bytes = length;
                                           as<FileExtent>(item).head.ram_bytes = length;
                                           if (on_disk_too) as<FileExtent>(item).disk_num_bytes = length;
                                         }));
      });
      EXPECT_TRUE(outcome.opened);
      EXPECT_GT(outcome.errors, 0u);
      EXPECT_LT(outcome.archive_bytes, 64u << 20);
    }
}

TEST_F(Hostile, ExtentsThatClaimToDecompressToMuch_CO007) {
  PristineImage pristine("single-1");
  const Target target = some_file(pristine, 4096);
  for (uint8_t compression : {1, 2, 3})
    for (uint64_t length : {uint64_t{128} << 10, uint64_t{256} << 10, uint64_t{1} << 40, uint64_t{1} << 62}) {
      Outcome outcome = use(pristine, [&](Devices& devices) {
        (void)pristine.change_item(devices, id::fs_tree, {target.inode, ItemType::inode_item, 0},
                                   [&](MutableBytes item, Item&) { as<InodeItem>(item).size = length; });
        (void)pristine.change_item(devices, id::fs_tree, {target.inode, ItemType::extent_data, 0},
                                   [&](MutableBytes item, Item&) {
                                     auto& extent = as<FileExtent>(item);
                                     extent.head.compression = compression;
                                     extent.num_bytes = length;
                                     extent.head.ram_bytes = length;
                                   });
      });
      EXPECT_TRUE(outcome.opened);
      EXPECT_GT(outcome.errors, 0u);
    }
}

TEST_F(Hostile, InlineExtentThatClaimsToDecompressToMuch_CO007) {
  PristineImage pristine("compress-zstd");
  for (uint64_t length : {uint64_t{1} << 20, uint64_t{1} << 40, ~uint64_t{0} - 4094, ~uint64_t{0}}) {
    int changed = 0;
    (void)use(pristine, [&](Devices& devices) {
      for (const auto& block : pristine.blocks()) {
        if (block.owner != id::fs_tree || block.level != 0) continue;
        pristine.change_block(devices, block.bytenr, [&](MutableBytes bytes) {
          for (uint32_t slot = 0; slot < header_of(bytes).nritems; ++slot) {
            const Item item = item_of(bytes, slot);
            if (item.key.type != uint8_t(ItemType::extent_data)) continue;
            auto& head = as<FileExtentHead>(bytes, sizeof(Header) + item.offset);
            if (head.type != 0 || head.compression == 0) continue;
            head.ram_bytes = length;
            ++changed;
          }
        });
      }
    });
    EXPECT_GT(changed, 0);
  }
}

TEST_F(Hostile, AbsurdNumbersOfItems_BT021_CO007) {
  PristineImage pristine("nodesize-4k");
  for (uint32_t count : {0u, 1u, 1000u, 65535u, 0x7fffffffu, 0x80000000u, 0xffffffffu})
    for (uint64_t tree : {id::root_tree, id::chunk_tree, id::fs_tree, id::csum_tree, id::extent_tree}) {
      auto block = std::find_if(pristine.blocks().begin(), pristine.blocks().end(),
                                [&](const auto& one) { return one.owner == tree; });
      (void)use(pristine, [&](Devices& devices) {
        pristine.change_block(devices, block->bytenr,
                              [&](MutableBytes bytes) { header_of(bytes).nritems = count; });
      });
    }
}

// Every length field of every kind of item that has one.
TEST_F(Hostile, AbsurdLengthsInsideItems_BT021_CO007) {
  PristineImage pristine("nodesize-4k");
  struct Field {
    ItemType type;
    size_t offset;
    size_t width;
  };
  const Field fields[] = {
      {ItemType::dir_item, offsetof(DirItem, name_len), 2},
      {ItemType::dir_item, offsetof(DirItem, data_len), 2},
      {ItemType::dir_index, offsetof(DirItem, name_len), 2},
      {ItemType::xattr_item, offsetof(DirItem, name_len), 2},
      {ItemType::xattr_item, offsetof(DirItem, data_len), 2},
      {ItemType::inode_ref, offsetof(InodeRef, name_len), 2},
      {ItemType::root_ref, offsetof(RootRef, name_len), 2},
      {ItemType::root_backref, offsetof(RootRef, name_len), 2},
      {ItemType::chunk_item, offsetof(Chunk, num_stripes), 2},
      {ItemType::chunk_item, offsetof(Chunk, stripe_len), 8},
      {ItemType::chunk_item, offsetof(Chunk, length), 8},
      {ItemType::chunk_item, offsetof(Chunk, sub_stripes), 2},
      {ItemType::root_item, offsetof(RootItem, level), 1},
      {ItemType::root_item, offsetof(RootItem, bytenr), 8},
      {ItemType::inode_item, offsetof(InodeItem, nlink), 4},
      {ItemType::inode_item, offsetof(InodeItem, nbytes), 8},
  };
  for (const Field& field : fields)
    for (uint64_t value : {uint64_t{0}, uint64_t{255}, uint64_t{0xffff}, ~uint64_t{0}}) {
      int changed = 0;
      (void)use(pristine, [&](Devices& devices) {
        for (const auto& block : pristine.blocks()) {
          if (block.level != 0) continue;
          pristine.change_block(devices, block.bytenr, [&](MutableBytes bytes) {
            for (uint32_t slot = 0; slot < header_of(bytes).nritems; ++slot) {
              const Item item = item_of(bytes, slot);
              if (item.key.type != uint8_t(field.type)) continue;
              const le64 disk = value;
              std::copy_n(
                  reinterpret_cast<const std::byte*>(&disk), field.width,
                  bytes.begin() + static_cast<ptrdiff_t>(sizeof(Header) + item.offset + field.offset));
              ++changed;
            }
          });
        }
      });
      EXPECT_GT(changed, 0) << int(field.type);
    }
}

TEST_F(Hostile, AbsurdSuperblocks_BT032_CO007) {
  PristineImage pristine("single-1");
  const std::pair<const char*, void (*)(Superblock&, uint64_t)> fields[] = {
      {"num_devices", [](Superblock& super, uint64_t value) { super.num_devices = value; }},
      {"total_bytes", [](Superblock& super, uint64_t value) { super.total_bytes = value; }},
      {"nodesize", [](Superblock& super,
                      uint64_t value) { super.nodesize = super.leafsize = static_cast<uint32_t>(value); }},
      {"sectorsize",
       [](Superblock& super, uint64_t value) { super.sectorsize = static_cast<uint32_t>(value); }},
      {"array size",
       [](Superblock& super, uint64_t value) { super.sys_chunk_array_size = static_cast<uint32_t>(value); }},
      {"root level",
       [](Superblock& super, uint64_t value) { super.root_level = static_cast<uint8_t>(value); }},
      {"chunk root level",
       [](Superblock& super, uint64_t value) { super.chunk_root_level = static_cast<uint8_t>(value); }},
      {"log root", [](Superblock& super, uint64_t value) { super.log_root = value; }},
      {"root", [](Superblock& super, uint64_t value) { super.root = value; }},
      {"chunk root", [](Superblock& super, uint64_t value) { super.chunk_root = value; }},
      {"generation", [](Superblock& super, uint64_t value) { super.generation = value; }},
      {"checksum type",
       [](Superblock& super, uint64_t value) { super.csum_type = static_cast<uint16_t>(value); }},
      {"stripes",
       [](Superblock& super, uint64_t value) {
         as<Chunk>(mutable_bytes(super), offsetof(Superblock, sys_chunk_array) + sizeof(DiskKey))
             .num_stripes = static_cast<uint16_t>(value);
       }},
      {"stripe length",
       [](Superblock& super, uint64_t value) {
         as<Chunk>(mutable_bytes(super), offsetof(Superblock, sys_chunk_array) + sizeof(DiskKey)).stripe_len =
             value;
       }},
  };
  for (const auto& [name, set] : fields)
    for (uint64_t value : {uint64_t{0}, uint64_t{1}, uint64_t{255}, uint64_t{4096}, uint64_t{65535},
                           uint64_t{1} << 31, uint64_t{0xffffffff}, uint64_t{1} << 63, ~uint64_t{0}})
      (void)use(pristine, [&, change = set](Devices& devices) {
        for_each_superblock(*devices[0], [&](Superblock& super) { change(super, value); });
      });
}

TEST_F(Hostile, DeviceThatEndsEarly) {
  // A file system whose devices are much shorter than it says: what is behind the end is an error.
  class Short final : public block::Device {
   public:
    Short(std::unique_ptr<block::Device> below, uint64_t size) : below_(std::move(below)), size_(size) {}
    const std::string& name() const override { return below_->name(); }
    uint64_t size() const override { return size_; }
    uint32_t block_size() const override { return below_->block_size(); }
    bool writable() const override { return true; }

   protected:
    Result<void> perform(const block::IoRequest& request) override { return below_->run(request.again()); }

   private:
    std::unique_ptr<block::Device> below_;
    uint64_t size_;
  };
  PristineImage pristine("raid0-2");
  for (uint64_t size = 0; size <= 64 << 20; size = size ? size * 2 : 4096)
    (void)use(pristine, [&](Devices& devices) {
      for (auto& device : devices) device = std::make_unique<Short>(std::move(device), size);
    });
}

}  // namespace
}  // namespace karst::btrfs::testing

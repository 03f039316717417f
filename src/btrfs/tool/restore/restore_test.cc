// Images damaged in every way that a table can list, restored, and compared with what the kernel showed of
// them before: what was not hit is all there, what was hit is told.
#include "btrfs/tool/restore/restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "btrfs/tool/restore/testing_restore.h"

namespace karst::btrfs::testing {
namespace {

using ::testing::HasSubstr;
using Kind = CopyLoss::Kind;

// What a copy keeps of the manifest's entry.
Json copied_form(const Json& entry) {
  Json kept;
  for (const char* field : {"type", "mode", "uid", "gid", "mtime", "xattrs", "target", "sha256"})
    if (entry.contains(field)) kept[field] = entry[field];
  if (entry["type"] == "file") kept["size"] = entry["size"];
  return kept;
}

// An empty file has no contents to hash.
bool same(const Json& expected, const Json& found, std::string& why) {
  const Json form = copied_form(expected);
  for (const auto& [field, value] : form.items()) {
    if (field == "sha256" && expected["size"] == 0) continue;
    if (found.contains(field) && found[field] == value) continue;
    why = fmt::format("{} is {}, expected {}", field, found.contains(field) ? found[field].dump() : "absent",
                      value.dump());
    return false;
  }
  return true;
}

// The entry of the copy that has the contents: the first name of several.
const Json* resolve_links(const Manifest& entries, const std::string& path) {
  auto found = entries.find(path);
  if (found == entries.end()) return nullptr;
  if (!found->second.contains("hardlink")) return &found->second;
  auto first = entries.find(found->second["hardlink"]);
  return first == entries.end() ? nullptr : &first->second;
}

// The inodes that have items in a block, or in one below it.
class Contents {
 public:
  explicit Contents(const PristineImage& image) {
    Devices devices = image.overlays();
    for (const auto& block : image.blocks()) {
      if (!is_fs_tree(block.owner)) continue;
      std::set<uint64_t> inodes;
      std::vector<uint64_t> children;
      image.change_block(devices, block.bytenr, [&](MutableBytes bytes) {
        const TreeBlock view{Bytes(bytes)};
        for (uint32_t slot = 0; slot < view.nritems(); ++slot) {
          if (view.is_leaf())
            inodes.insert(view.key(slot).objectid);
          else
            children.push_back(view.key_ptr(slot).blockptr);
        }
      });
      own_[block.bytenr] = inodes;
      children_[block.bytenr] = children;
      levels_[block.bytenr] = block.level;
    }
  }
  std::set<uint64_t> below(uint64_t bytenr) const {
    std::set<uint64_t> all = own_.at(bytenr);
    for (uint64_t child : children_.at(bytenr))
      if (own_.contains(child)) all.merge(below(child));
    return all;
  }
  const std::map<uint64_t, uint8_t>& levels() const { return levels_; }

 private:
  std::map<uint64_t, std::set<uint64_t>> own_;
  std::map<uint64_t, std::vector<uint64_t>> children_;
  std::map<uint64_t, uint8_t> levels_;
};

void destroy(const PristineImage& image, Devices& devices, uint64_t bytenr) {
  image.change_block(devices, bytenr,
                     [](MutableBytes bytes) { std::fill(bytes.begin(), bytes.end(), std::byte{0x5a}); });
}

RestoreOptions with_snapshots() {
  RestoreOptions options;
  options.snapshots = true;
  return options;
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Whether some loss speaks of the path, or of a directory above it, or of the name whose hard link it is.
bool is_told(const Restored& restored, std::string path) {
  auto entry = restored.entries.find(path);
  if (entry != restored.entries.end() && entry->second.contains("hardlink")) path = entry->second["hardlink"];
  for (const auto& loss : restored.losses)
    if (loss.path == path) return true;
  for (std::string above = parent_of(path);; above = parent_of(above)) {
    for (const auto& loss : restored.losses)
      if (loss.path == above && (loss.kind == Kind::names || loss.kind == Kind::entry)) return true;
    if (above == "/") return false;
  }
}

// Everything whose inode is not in `hit` is there as it was, at its path or where its inode was put;
// everything else is there or told.
std::vector<std::string> check_restored(const Manifest& manifest, const Restored& restored,
                                        const std::set<uint64_t>& hit) {
  std::vector<std::string> lines;
  for (const auto& [path, entry] : manifest) {
    if (!entry.contains("ino") || entry.contains("unreadable")) continue;
    if (entry["ino"] == id::empty_subvol_dir) {  // nothing of it is told by any item but its name
      if (!restored.entries.contains(path) && !is_told(restored, path))
        lines.push_back(path + ": is missing");
      continue;
    }
    const InodeId inode{entry["subvolid"], entry["ino"]};
    const Json* found = resolve_links(restored.entries, path);
    auto elsewhere = restored.paths.find(inode);
    if (!found && elsewhere != restored.paths.end())
      found = resolve_links(restored.entries, elsewhere->second);
    std::string why = "is missing";
    if (found && same(entry, *found, why)) continue;
    if (hit.contains(inode.inode) && (is_told(restored, path) || (elsewhere != restored.paths.end() &&
                                                                  is_told(restored, elsewhere->second))))
      continue;
    lines.push_back(
        fmt::format("{} (inode {}{}): {}", path, inode.inode, hit.contains(inode.inode) ? ", hit" : "", why));
  }
  return lines;
}

class WholeImage : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Images, WholeImage,
                         ::testing::Values("single-1", "subvolumes", "everything", "raid5-3", "links",
                                           "nodes", "log-create", "seed-sprout-2", "metadata-uuid",
                                           "sectorsize-64k"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(WholeImage, ComesOverAsTheKernelShowsIt) {
  PristineImage image(GetParam());
  UnpackedImage files(GetParam());
  auto restored = restore_all(image.overlays(), {}, with_snapshots());
  ASSERT_TRUE(restored) << restored.error().message();
  EXPECT_EQ(restored->text(), "");
  EXPECT_EQ(restored->root_source, "the superblock");
  const Manifest manifest = files.manifest();
  EXPECT_EQ(joined(check_restored(manifest, *restored, {})), "");
  EXPECT_EQ(restored->entries.size(), manifest.size());
}

class EachBlock : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Images, EachBlock,
                         ::testing::Values("nodesize-4k", "levels-4k", "subvolumes", "links"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

TEST_P(EachBlock, DestroyedLosesNoMoreThanItHeld_BT035) {
  PristineImage image(GetParam());
  UnpackedImage files(GetParam());
  const Manifest manifest = files.manifest();
  const Contents contents(image);
  // Of an image with very many leaves a sample, the same each time.
  const size_t step = contents.levels().size() / 60 + 1;
  size_t number = 0;
  for (const auto& [bytenr, level] : contents.levels()) {
    if (level == 0 && number++ % step != 0) continue;
    SCOPED_TRACE(fmt::format("block {} level {}", bytenr, level));
    Devices devices = image.overlays();
    destroy(image, devices, bytenr);
    auto restored = restore_all(std::move(devices), {}, with_snapshots());
    ASSERT_TRUE(restored) << restored.error().message();
    auto lines = check_restored(manifest, *restored, contents.below(bytenr));
    EXPECT_EQ(joined(lines), "") << restored->text();
    if (!lines.empty()) return;
  }
}

// Destroys the leaves of the root tree that say which directories have the subvolumes.
void destroy_references(const PristineImage& image, Devices& devices) {
  for (const auto& block : image.blocks()) {
    if (block.owner != id::root_tree || block.level != 0) continue;
    bool has_references = false;
    image.change_block(devices, block.bytenr, [&](MutableBytes bytes) {
      const TreeBlock leaf{Bytes(bytes)};
      for (uint32_t slot = 0; slot < leaf.nritems(); ++slot)
        has_references |= leaf.key(slot).type == ItemType::root_ref;
    });
    if (has_references) destroy(image, devices, block.bytenr);
  }
}

std::vector<std::string> subvolume_paths(const std::string& image) {
  std::vector<std::string> paths;
  for (const auto& [path, entry] : UnpackedImage(image).manifest())
    if (path != "/" && entry["ino"] == id::first_free) paths.push_back(path);
  return paths;
}

// Their trees are found, but nothing says any more that the directories above have them.
TEST(Restore, SubvolumesWhoseReferencesAreLostAreTold) {
  PristineImage image("snapshots-4k");
  Devices devices = image.overlays();
  destroy_references(image, devices);
  auto restored = restore_all(std::move(devices), {}, with_snapshots());
  ASSERT_TRUE(restored) << restored.error().message();
  EXPECT_EQ(restored->root_source, "the superblock");
  for (const std::string& path : subvolume_paths("snapshots-4k"))
    EXPECT_TRUE(restored->tells(Kind::entry, path)) << path << "\n" << restored->text();
}

// What a snapshot has for the subvolumes of its original: all of a tree are inode 2. What is lost of the
// tree's first keys says nothing of them.
TEST(Restore, EmptyDirectoriesForSubvolumesAllComeOver) {
  PristineImage image("nodesize-4k");
  Devices devices = image.overlays();
  size_t made = 0;
  uint64_t node = 0;
  for (const auto& block : image.blocks()) {
    if (block.owner != id::fs_tree) continue;
    if (block.level > 0) {
      node = block.bytenr;
      continue;
    }
    image.change_block(devices, block.bytenr, [&](MutableBytes bytes) {
      const TreeBlock leaf{Bytes(bytes)};
      for (uint32_t slot = 0; slot < leaf.nritems() && made < 2; ++slot) {
        if (leaf.key(slot).type != ItemType::dir_index) continue;
        auto& entry = *reinterpret_cast<DirItem*>(bytes.data() + sizeof(Header) + leaf.item(slot).offset);
        entry.location = DiskKey::from({1000, ItemType::root_item, ~0ull});
        entry.type = uint8_t(FileType::directory);
        ++made;
      }
    });
  }
  ASSERT_EQ(made, 2u);
  ASSERT_NE(node, 0u);
  destroy(image, devices, node);
  auto restored = restore_all(std::move(devices), {}, with_snapshots());
  ASSERT_TRUE(restored) << restored.error().message();
  EXPECT_EQ(restored->empty_subvolumes, made) << restored->text();
}

// Bits that turned over in memory before the block was written: its checksum is right, one item is not.
TEST_P(EachBlock, WithAnInvalidItemLosesNoMoreThanThat_BT021) {
  PristineImage image(GetParam());
  UnpackedImage files(GetParam());
  const Manifest manifest = files.manifest();
  size_t told = 0;
  const size_t step = image.blocks().size() / 60 + 1;
  for (size_t number = 0; number < image.blocks().size(); number += step) {
    const auto& block = image.blocks()[number];
    if (block.level != 0 || !is_fs_tree(block.owner)) continue;
    Devices devices = image.overlays();
    Key spoiled;
    image.change_block(devices, block.bytenr, [&](MutableBytes bytes) {
      const TreeBlock leaf{Bytes(bytes)};
      const uint32_t slots[] = {0, leaf.nritems() / 2, leaf.nritems() - 1};
      const uint32_t slot = slots[number / step % 3];
      spoiled = leaf.key(slot);
      const auto data = bytes.subspan(sizeof(Header) + leaf.item(slot).offset, leaf.item(slot).size);
      std::fill(data.begin(), data.end(), std::byte{0xff});
    });
    SCOPED_TRACE(fmt::format("block {}, item {}", block.bytenr, spoiled));
    auto restored = restore_all(std::move(devices), {}, with_snapshots());
    ASSERT_TRUE(restored) << restored.error().message();
    EXPECT_EQ(joined(check_restored(manifest, *restored, {spoiled.objectid})), "") << restored->text();
    if (restored->blocks.empty()) continue;  // nobody needed it
    EXPECT_EQ(restored->blocks[0].first, spoiled);
    EXPECT_EQ(restored->blocks[0].last, spoiled);
    ++told;
  }
  EXPECT_GT(told, 0u);
}

TEST_P(EachBlock, WithOthersDestroyedLosesNoMoreThanTheyHeld_BT035) {
  PristineImage image(GetParam());
  UnpackedImage files(GetParam());
  const Manifest manifest = files.manifest();
  const Contents contents(image);
  std::vector<uint64_t> all;
  for (const auto& [bytenr, level] : contents.levels()) all.push_back(bytenr);
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    std::mt19937_64 random(seed);
    std::set<uint64_t> hit;
    Devices devices = image.overlays();
    for (uint64_t count = 2 + random() % 6; count > 0; --count) {
      const uint64_t bytenr = all[random() % all.size()];
      destroy(image, devices, bytenr);
      hit.merge(contents.below(bytenr));
    }
    auto restored = restore_all(std::move(devices), {}, with_snapshots());
    ASSERT_TRUE(restored) << restored.error().message();
    auto lines = check_restored(manifest, *restored, hit);
    EXPECT_EQ(joined(lines), "") << restored->text();
    if (!lines.empty()) return;
  }
}

}  // namespace
}  // namespace karst::btrfs::testing

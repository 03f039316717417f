#include "fuse/view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "btrfs/tool/testing_image.h"

namespace karst::fuse {
namespace {

using ::testing::ElementsAre;

class ViewTest : public ::testing::Test {
 protected:
  void open(const std::string& name, std::optional<uint64_t> subvolume = {}) {
    files_ = std::make_unique<btrfs::testing::UnpackedImage>(name);
    auto options = files_->options();
    if (subvolume) options.subvolid = subvolume;
    auto image = btrfs::Image::open(options, cache_, Logger());
    ASSERT_TRUE(image) << image.error().message();
    image_ = std::move(*image);
    served_ = std::make_unique<Served>(*image_);
    view_ = std::make_unique<View>(*served_);
  }
  // The node a path leads to; root_node and a failure if there is none.
  NodeId at(const std::string& path) {
    NodeId node = root_node;
    for (const auto& part : std::filesystem::path(path)) {
      auto found = view_->look_up(node, part.string());
      EXPECT_TRUE(found && *found) << path;
      if (!found || !*found) return root_node;
      node = (*found)->node;
    }
    return node;
  }
  struct Name {
    std::string name;
    mode_t type;
    uint64_t next;
    bool operator==(const Name&) const = default;
  };
  std::vector<Name> list(NodeId directory, uint64_t position = 0, size_t limit = SIZE_MAX) {
    std::vector<Name> names;
    auto take = [&](const View::Listed& item) {
      if (names.size() == limit) return false;
      names.push_back({std::string(item.name), item.type, item.next});
      return true;
    };
    auto done = view_->list(directory, position, View::With::names, take,
                            [](const Error& error) { ADD_FAILURE() << error.message(); });
    EXPECT_TRUE(done) << done.error().message();
    return names;
  }

  std::unique_ptr<btrfs::testing::UnpackedImage> files_;
  cache::Cache cache_;
  std::unique_ptr<btrfs::Image> image_;
  std::unique_ptr<Served> served_;
  std::unique_ptr<View> view_;
};

TEST_F(ViewTest, ListedTypesAreThoseOfTheInodes) {
  open("nodes");
  std::set<mode_t> types;
  const NodeId directory = at("nodes");
  for (const Name& item : list(directory)) {
    if (item.name == "." || item.name == "..") continue;
    auto found = view_->look_up(directory, item.name);
    ASSERT_TRUE(found && *found) << item.name;
    EXPECT_EQ((*found)->stat.st_mode & S_IFMT, item.type) << item.name;
    types.insert(item.type);
  }
  EXPECT_GE(types.size(), 5u);
}

TEST_F(ViewTest, AListingMayBeTakenUpAtEachPosition_BT054) {
  open("levels-4k");
  for (const Name& top : list(root_node)) {
    if (top.type != S_IFDIR || top.name.starts_with('.')) continue;
    const NodeId directory = at(top.name);
    const std::vector<Name> all = list(directory);
    std::vector<Name> pieces;
    for (uint64_t position = 0;;) {
      std::vector<Name> piece = list(directory, position, 3);
      if (piece.empty()) break;
      position = piece.back().next;
      pieces.insert(pieces.end(), piece.begin(), piece.end());
    }
    EXPECT_EQ(pieces, all) << top.name;
    EXPECT_GE(all.size(), 2u);
  }
}

TEST_F(ViewTest, TheParentIsFoundAcrossSubvolumes_BT063) {
  open("single-1");
  const NodeId common = at("common"), subvolume = at("common/subvolume");
  auto parent = view_->look_up(subvolume, "..");
  ASSERT_TRUE(parent && *parent);
  EXPECT_EQ((*parent)->node, common);
  parent = view_->look_up(at("common/subvolume/kept"), "..");
  ASSERT_TRUE(parent && *parent);
  EXPECT_EQ((*parent)->node, subvolume);
  parent = view_->look_up(root_node, "..");
  ASSERT_TRUE(parent && *parent);
  EXPECT_EQ((*parent)->node, root_node);
}

TEST_F(ViewTest, ASubvolumeMayBeTheRoot) {
  open("single-1", 256);
  EXPECT_EQ(raw(at("kept")) >> 40, 0u);
  auto entry = view_->entry(root_node);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->stat.st_ino, 256u);
}

TEST_F(ViewTest, InASnapshotANestedSubvolumeIsAnEmptyDirectoryOfItsOwn) {
  open("subvolumes");
  std::optional<std::string> path;
  for (const auto& [name, entry] : files_->manifest())
    if (entry.value("ino", 0) == 2) path = name.substr(1);
  ASSERT_TRUE(path) << "no such directory in the image";
  const NodeId node = at(*path);
  EXPECT_EQ(served_->nodes.table_size(), 1u);
  EXPECT_THAT(list(node), ElementsAre(Name{".", S_IFDIR, 1}, Name{"..", S_IFDIR, 2}));
  auto entry = view_->entry(node);
  ASSERT_TRUE(entry);
  EXPECT_EQ(entry->stat.st_mode, static_cast<mode_t>(S_IFDIR | 0755));
  EXPECT_EQ(entry->stat.st_ino, raw(node));
  auto inside = view_->look_up(node, "anything");
  EXPECT_TRUE(inside && !*inside);
  EXPECT_EQ(view_->xattr_names(node).value_or("?"), "");
  served_->nodes.forget(node, 1);
  EXPECT_FALSE(view_->entry(node));
}

TEST_F(ViewTest, ReadingStopsAtTheEndOfTheFile) {
  open("single-1");
  const NodeId file = at("common/linked");  // 10000 bytes
  auto bytes = view_->read(file, 9000, 4096);
  ASSERT_TRUE(bytes);
  EXPECT_EQ(bytes->size(), 1000u);
  for (uint64_t past : {10000ull, 12288ull, ~0ull >> 1}) {
    bytes = view_->read(file, past, 4096);
    ASSERT_TRUE(bytes);
    EXPECT_EQ(bytes->size(), 0u);
  }
}

TEST_F(ViewTest, WhatIsNotThereIsAnError) {
  open("nodes");
  EXPECT_FALSE(view_->entry(NodeId{0}));
  EXPECT_FALSE(view_->entry(NodeId{300ull << 40 | 256}));
  EXPECT_FALSE(view_->read(root_node, 0, 4096));
  EXPECT_FALSE(view_->read_link(root_node));
  auto absent = view_->look_up(root_node, "absent");
  EXPECT_TRUE(absent && !*absent);
  auto too_long = view_->look_up(root_node, std::string(256, 'x'));
  ASSERT_FALSE(too_long);
  EXPECT_EQ(too_long.error().errno_value(), ENAMETOOLONG);
}

}  // namespace
}  // namespace karst::fuse

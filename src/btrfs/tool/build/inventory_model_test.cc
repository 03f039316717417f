// The inventory against a model that keeps a tree in memory and does what it is told at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "btrfs/tool/build/paths.h"
#include "btrfs/tool/build/testing_inventory.h"

namespace karst::btrfs::build {
namespace {
using namespace testing;

struct ModelInode {
  bool is_directory = true;
  uint32_t uid = 0;
  std::string content;
};
struct ModelName {
  std::shared_ptr<ModelInode> inode;
  int layer = 0;  // that said it
};

class Model {
 public:
  explicit Model(std::set<std::string> subvolumes) : subvolumes_(std::move(subvolumes)) {
    names_[""] = {std::make_shared<ModelInode>(), 0};
  }

  bool exists(const std::string& path) const { return names_.contains(path); }
  bool is_directory(const std::string& path) const {
    return exists(path) && names_.at(path).inode->is_directory;
  }
  // Whether nothing above the path is in the way.
  bool has_room(const std::string& path) const {
    for (std::string_view above = path; !above.empty();) {
      above = parent_path(above);
      if (exists(std::string(above)) && !is_directory(std::string(above))) return false;
    }
    return true;
  }
  std::string subvolume_of(const std::string& path) const {
    std::string found;
    for (const std::string& candidate : subvolumes_)
      if (is_below_or_at(path, candidate) && candidate.size() > found.size()) found = candidate;
    return found;
  }
  bool is_at_or_above_subvolume(const std::string& path) const {
    return std::any_of(subvolumes_.begin(), subvolumes_.end(),
                       [&](const std::string& subvolume) { return is_below_or_at(subvolume, path); });
  }

  void ensure_directory(const std::string& path, int layer) {
    if (!path.empty()) ensure_directory(std::string(parent_path(path)), layer);
    if (!exists(path)) names_[path] = {std::make_shared<ModelInode>(), layer};
  }
  void put(const std::string& path, ModelInode inode, int layer) {
    if (!path.empty()) ensure_directory(std::string(parent_path(path)), layer);
    if (is_directory(path) && !inode.is_directory) erase_below(path);
    names_[path] = {std::make_shared<ModelInode>(std::move(inode)), layer};
  }
  void link(const std::string& path, const std::string& target, int layer) {
    const auto inode = names_.at(target).inode;
    ensure_directory(std::string(parent_path(path)), layer);
    if (is_directory(path)) erase_below(path);
    names_[path] = {inode, layer};
  }
  void patch(const std::string& path, uint32_t uid) { names_.at(path).inode->uid = uid; }
  void erase_below(const std::string& path) {
    std::erase_if(names_,
                  [&](const auto& name) { return name.first != path && is_below_or_at(name.first, path); });
  }
  void remove(const std::string& path) {
    erase_below(path);
    names_.erase(path);
  }
  void finish() {
    if (!exists("")) names_[""] = {std::make_shared<ModelInode>(), 0};
    for (const std::string& subvolume : subvolumes_) ensure_directory(subvolume, 0);
  }

  // As walk_lines(), without numbers: "subvolume names uid content", sorted.
  std::vector<std::string> lines() const {
    std::map<std::pair<std::string, const ModelInode*>, std::vector<std::string>> inodes;
    for (const auto& [path, name] : names_) {
      const std::string subvolume = subvolume_of(path);
      const std::string inside =
          path.substr(std::min(path.size(), subvolume.size() + (subvolume.empty() ? 0 : 1)));
      inodes[{subvolume, name.inode.get()}].push_back(inside);
    }
    std::vector<std::string> lines;
    for (auto& [key, paths] : inodes) {
      std::sort(paths.begin(), paths.end());
      std::string line = "/" + key.first;
      for (const std::string& path : paths) line += " " + (path.empty() ? "." : path);
      lines.push_back(fmt::format("{} {} {}", line, key.second->uid,
                                  key.second->is_directory ? "directory" : key.second->content));
    }
    std::sort(lines.begin(), lines.end());
    return lines;
  }
  std::vector<std::string> paths() const {
    std::vector<std::string> all;
    for (const auto& [path, name] : names_) all.push_back(path);
    return all;
  }

 private:
  const std::set<std::string> subvolumes_;
  std::map<std::string, ModelName> names_;
};

std::vector<std::string> layout_lines(const Layout& layout, const MemoryStore& store) {
  std::vector<std::string> lines;
  Walk walk = layout.walk();
  while (const Subvolume* subvolume = walk.next_subvolume().value()) {
    const auto directories = directory_paths(layout, subvolume->id);
    while (const Inode* inode = walk.next().value()) {
      std::vector<std::string> paths;
      for (const Link& link : inode->links)
        paths.push_back((directories.at(link.directory) + "/" + std::string(link.name)).substr(1));
      if (paths.empty()) paths.push_back(".");
      std::sort(paths.begin(), paths.end());
      std::string line = subvolume->path;
      for (const std::string& path : paths) line += " " + path;
      lines.push_back(
          fmt::format("{} {} {}", line, inode->attributes.uid,
                      inode->attributes.is_directory() ? "directory" : store.content(inode->content_bytes)));
    }
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

// Says random things of a few layers to both. Removals of a layer are done first by the model, and said
// anywhere by us.
class Script {
 public:
  Script(uint32_t seed, Inventory& inventory, Model& model, MemoryStore& store)
      : random_(seed), links_across_(seed % 2 != 0), inventory_(inventory), model_(model), store_(store) {}

  void run() {
    for (layer_ = 1; layer_ <= 4; ++layer_) {
      inventory_.begin_layer();
      std::vector<std::string> removals;
      if (layer_ > 1)
        for (uint32_t n = random_() % 4; n > 0; --n) removals.push_back(some_path());
      for (const std::string& path : removals) model_.remove(path);
      for (uint32_t n = random_() % 12; n > 0; --n) {
        if (!removals.empty() && random_() % 3 == 0) say_removal(removals);
        say_something();
      }
      while (!removals.empty()) say_removal(removals);
    }
    model_.finish();
  }

 private:
  std::string some_path() {
    std::string path;
    for (uint32_t depth = 1 + random_() % 3; depth > 0; --depth)
      path = join_paths(path, std::string(1, static_cast<char>("ab!"[random_() % 3])));
    return path;
  }
  void say_removal(std::vector<std::string>& removals) {
    ASSERT_TRUE(inventory_.remove(removals.back()));
    removals.pop_back();
  }
  void say_something() {
    const std::string path = some_path();
    const bool file_fits = model_.has_room(path) && !model_.is_at_or_above_subvolume(path);
    const uint32_t uid = random_() % 1000;
    switch (random_() % 4) {
      case 0:
        if (!model_.has_room(path)) return;
        ASSERT_TRUE(inventory_.put(path, directory(uid)));
        return model_.put(path, {.uid = uid}, layer_);
      case 1: return file_fits ? put_file(path, uid) : void();
      case 2: {
        const std::string target = some_path();
        if (!file_fits || !model_.exists(target) || model_.is_directory(target) || target == path) return;
        if (!links_across_ && model_.subvolume_of(path) != model_.subvolume_of(target)) return;
        ASSERT_TRUE(inventory_.link(path, target));
        return model_.link(path, target, layer_);
      }
      case 3:
        if (!model_.exists(path) || links_across_) return;
        ASSERT_TRUE(inventory_.patch(path, {.uid = uid}, {}));
        return model_.patch(path, uid);
    }
  }
  void put_file(const std::string& path, uint32_t uid) {
    const std::string content = "content" + std::to_string(++count_);
    ASSERT_TRUE(store_.begin_file(path, {}, 0));
    ASSERT_TRUE(store_.write(0, as_bytes(content)));
    const ContentToken token = store_.end_file(content.size()).value();
    ASSERT_TRUE(inventory_.put(
        path, {.attributes = {.mode = mode::regular | 0644, .uid = uid, .size = content.size()},
               .content = ContentKind::stored,
               .content_bytes = token}));
    model_.put(path, {.is_directory = false, .uid = uid, .content = content}, layer_);
  }

  std::mt19937 random_;
  // A name in another subvolume is an inode of its own, which the model does not know: what is patched is
  // seen there.
  const bool links_across_;
  Inventory& inventory_;
  Model& model_;
  MemoryStore& store_;
  int layer_ = 0, count_ = 0;
};

class InventoryModel : public ::testing::TestWithParam<uint64_t> {};

TEST_P(InventoryModel, SaysWhatTheModelSays) {
  for (uint32_t seed = 1; seed <= 1500; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937 random(seed);
    std::set<std::string> subvolumes;
    for (const char* path : {"a", "a/b", "b", "b/a/a", "!"})
      if (random() % 4 == 0) subvolumes.insert(path);
    Declarations declarations;
    for (const std::string& path : subvolumes) declarations.subvolumes.push_back({.path = path});
    Inventory inventory =
        Inventory::create({.memory = GetParam(), .temporary_directory = ::testing::TempDir()}, declarations)
            .value();
    Model model(subvolumes);
    MemoryStore store;
    Script(seed, inventory, model, store).run();
    auto layout = inventory.finish(&store);
    ASSERT_TRUE(layout) << layout.error().message();
    ASSERT_EQ(layout_lines(*layout, store), model.lines());
    (void)walk_lines(*layout, &store);
    // What is released is what no inode has, once.
    std::set<std::string> kept, released(store.released.begin(), store.released.end());
    EXPECT_EQ(released.size(), store.released.size());
    Walk walk = layout->walk();
    while (walk.next_subvolume().value())
      while (const Inode* inode = walk.next().value())
        if (inode->content == ContentKind::stored) kept.insert(std::string(as_text(inode->content_bytes)));
    for (const auto& [token, content] : store.contents)
      EXPECT_NE(kept.contains(std::to_string(token)), released.contains(std::to_string(token))) << content;
    if (HasFailure()) break;
  }
}

INSTANTIATE_TEST_SUITE_P(Memory, InventoryModel, ::testing::Values(uint64_t{48} << 20, uint64_t{2000}));

}  // namespace
}  // namespace karst::btrfs::build

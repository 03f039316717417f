// Cursors: steps over the ends of leaves, positions between items, overlays, reads that fail.
#include <gtest/gtest.h>

#include <random>

#include "block/faulty_device.h"
#include "btrfs/tool/testing_mutation.h"

namespace karst::btrfs::testing {
namespace {

using Items = std::map<Key, std::string>;

// A tree of several levels, and what its leaves hold when they are read one by one.
class SeveralLevels : public ::testing::Test {
 protected:
  void SetUp() override {
    overlays_ = pristine_.overlays();
    for (auto& overlay : overlays_)
      faulty_.push_back(std::make_unique<block::FaultyDevice>(*overlay, block::FaultPlan{}));
    reopen();
    tree_ = *image_->fs().tree(id::fs_tree);
    for (const auto& found : pristine_.blocks()) {
      if (found.owner != id::fs_tree || found.level != 0) continue;
      std::vector<std::byte> bytes(pristine_.geometry().nodesize);
      ASSERT_TRUE(image_->fs().volume().read_copy(Logical(found.bytenr), bytes, 0));
      const TreeBlock leaf(bytes);
      ends_.push_back(leaf.key(0));
      ends_.push_back(leaf.key(leaf.nritems() - 1));
      for (uint32_t slot = 0; slot < leaf.nritems(); ++slot)
        items_.emplace(leaf.key(slot), as_text(leaf.item_data(slot)));
    }
    ASSERT_GE(tree_.root.level, 2);
    ASSERT_GT(ends_.size(), 40u);
  }
  // With an empty cache.
  void reopen() {
    image_.reset();
    cache_ = std::make_unique<cache::Cache>();
    std::vector<std::unique_ptr<block::Device>> devices;
    for (auto& device : faulty_) devices.push_back(std::make_unique<Borrowed>(*device));
    image_ = *Image::open_on(std::move(devices), pristine_.options(), *cache_, Logger());
    tree_ = *image_->fs().tree(id::fs_tree);
  }

  // Whether a cursor that gave `found` is where the items say.
  static void expect_at(const Cursor& cursor, bool found, Items::const_iterator expected,
                        const Items& items) {
    ASSERT_EQ(found, expected != items.end());
    ASSERT_EQ(cursor.valid(), found);
    if (!found) return;
    ASSERT_EQ(cursor.key(), expected->first);
    ASSERT_EQ(as_text(cursor.data()), expected->second);
  }
  // From every side of every key: itself, what is before it, and what is after.
  static void expect_all(const Tree& tree, const Items& items, const std::vector<Key>& keys) {
    Cursor cursor(tree);
    for (const Key& around : keys)
      for (const Key& key : {around.predecessor(), around, around.successor()}) {
        auto after = items.lower_bound(key);
        expect_at(cursor, *cursor.seek(key), after, items);
        auto beyond = items.upper_bound(key);
        expect_at(cursor, *cursor.seek_back(key), beyond == items.begin() ? items.end() : std::prev(beyond),
                  items);
        EXPECT_EQ(*cursor.find(key), items.contains(key));
        if (::testing::Test::HasFatalFailure()) return;
      }
  }
  static void expect_walk(const Tree& tree, const Items& items) {
    Cursor cursor(tree);
    bool found = *cursor.seek(Key::min());
    for (auto expected = items.begin(); expected != items.end(); ++expected, found = *cursor.next()) {
      expect_at(cursor, found, expected, items);
      if (::testing::Test::HasFatalFailure()) return;
    }
    EXPECT_FALSE(found);
    EXPECT_FALSE(*cursor.next()) << "the end is the end";
  }

  PristineImage pristine_{"levels-4k"};
  std::vector<std::unique_ptr<block::Device>> overlays_;
  std::vector<std::unique_ptr<block::FaultyDevice>> faulty_;
  std::unique_ptr<cache::Cache> cache_;
  std::unique_ptr<Image> image_;
  Tree tree_;
  Items items_;
  std::vector<Key> ends_;  // first and last key of each leaf
};

TEST_F(SeveralLevels, AreWalkedFromOneEndToTheOther_BT013) { expect_walk(tree_, items_); }

TEST_F(SeveralLevels, AreFoundFromEverySideOfTheEndsOfLeaves_BT013) {
  std::vector<Key> keys = ends_;
  keys.push_back(Key::min());
  keys.push_back(Key::max());
  expect_all(tree_, items_, keys);
}

TEST_F(SeveralLevels, AreWalkedBackwards_BT013) {
  BlockCursor cursor(*tree_.blocks, tree_.root);
  bool found = *cursor.seek_back(Key::max());
  for (auto expected = items_.rbegin(); expected != items_.rend(); ++expected, found = *cursor.previous()) {
    ASSERT_TRUE(found);
    ASSERT_EQ(cursor.key(), expected->first);
  }
  EXPECT_FALSE(found);
}

TEST_F(SeveralLevels, KeepToTheItemsOfOneTypeOfOneObject_BT013) {
  std::map<std::pair<uint64_t, ItemType>, uint64_t> counts;
  for (const auto& [key, data] : items_) ++counts[{key.objectid, key.type}];
  Cursor cursor(tree_);
  for (const auto& [of, count] : counts) {
    ASSERT_TRUE(*cursor.seek({of.first, of.second, 0}));
    uint64_t found = 1;
    while (*cursor.next_of(of.first, of.second)) ++found;
    ASSERT_EQ(found, count);
  }
}

// Against a map to which the same changes were made: hidden items, replaced ones, new ones between them, and
// long runs that hide whole leaves.
TEST_F(SeveralLevels, ShowAnOverlayAsIfItWereInTheTree_BT013) {
  for (uint64_t seed : {1, 2, 3}) {
    std::mt19937_64 random(seed);
    Items items = items_;
    ItemOverlay overlay;
    auto hide = [&](Items::iterator item) {
      overlay[item->first] = std::nullopt;
      return items.erase(item);
    };
    auto put = [&](const Key& key, const std::string& data) {
      overlay[key] = std::vector<std::byte>(as_bytes(data).begin(), as_bytes(data).end());
      items[key] = data;
    };
    std::vector<Key> touched;
    for (int i = 0; i < 300; ++i) {
      auto item = std::next(items.begin(), static_cast<ptrdiff_t>(random() % items.size()));
      touched.push_back(item->first);
      switch (random() % 4) {
        case 0: hide(item); break;
        case 1: put(item->first, fmt::format("replaced {}", i)); break;
        case 2: put(item->first.successor(), fmt::format("new {}", i)); break;
        case 3:
          for (uint64_t run = random() % 100; run > 0 && item != items.end(); --run) item = hide(item);
          break;
      }
    }
    for (auto item = items.begin(); seed == 2 && item != std::next(items.begin(), 50);) item = hide(item);
    for (int i = 0; seed == 3 && i < 50; ++i) hide(std::prev(items.end()));
    touched.push_back(Key::min());
    touched.push_back(Key::max());
    Tree tree = tree_;
    tree.overlay = &overlay;
    expect_walk(tree, items);
    expect_all(tree, items, touched);
    ASSERT_FALSE(HasFatalFailure()) << "seed " << seed;
  }
}

// An item or an error: never another item, nothing left behind in the cache, and the cursor that met the
// error is as good as any afterwards.
TEST_F(SeveralLevels, GiveAnItemOrAnErrorWhicheverReadFails_BT024) {
  const Key wanted = std::next(items_.begin(), static_cast<ptrdiff_t>(items_.size() / 2))->first;
  struct Case {
    block::Fault::Kind kind;
    uint64_t times;
    int least_errors;  // each of the levels can be the first that fails
  };
  const Case cases[] = {{block::Fault::Kind::error, 1, 0},
                        {block::Fault::Kind::misdirected, 1, 0},
                        {block::Fault::Kind::error, block::Fault::forever, 3},
                        {block::Fault::Kind::misdirected, block::Fault::forever, 3}};
  for (const Case& c : cases) {
    int errors = 0;
    for (uint64_t nth = 1;; ++nth) {
      reopen();
      const uint64_t met_before = faulty_[0]->faults_met();
      faulty_[0]->set_faults({{.kind = c.kind, .op = block::IoOp::read, .nth = nth, .times = c.times}});
      Cursor cursor(tree_);
      auto found = cursor.seek(wanted);
      const bool met = faulty_[0]->faults_met() > met_before;
      if (found) {
        expect_at(cursor, *found, items_.find(wanted), items_);
      } else {
        ++errors;
        const int error = found.error().errno_value();
        EXPECT_TRUE(error == EIO || error == EUCLEAN) << found.error().message();
        EXPECT_FALSE(cursor.valid());
      }
      faulty_[0]->set_faults({});
      expect_at(cursor, *cursor.seek(wanted), items_.find(wanted), items_);
      if (!met) break;
      ASSERT_LT(nth, 100u);
    }
    EXPECT_GE(errors, c.least_errors);
  }
}

TEST_F(SeveralLevels, GoOnAfterALeafThatCannotBeRead_BT024) {
  reopen();
  Cursor cursor(tree_);
  ASSERT_TRUE(*cursor.seek(Key::min()));
  faulty_[0]->set_faults({{.op = block::IoOp::read, .times = block::Fault::forever}});
  Key last = cursor.key();
  bool failed = false;
  while (!failed) {
    auto next = cursor.next();
    failed = !next;
    if (next) last = cursor.key();
  }
  EXPECT_FALSE(cursor.valid());
  faulty_[0]->set_faults({});
  expect_at(cursor, *cursor.seek(last.successor()), items_.upper_bound(last), items_);
}

}  // namespace
}  // namespace karst::btrfs::testing

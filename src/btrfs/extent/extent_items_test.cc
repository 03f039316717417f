// Items of the extent tree: which references stand in an extent's item, which beside it, in which order.
#include "btrfs/extent/extent_items.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "btrfs/format/backref.h"
#include "btrfs/format/object_ids.h"
#include "btrfs/tree/bulk_tree.h"

namespace karst::btrfs {
namespace {

constexpr uint64_t address = 1 << 20;

class DiscardingSink final : public BlockSink {
 public:
  Result<Logical> allocate() override { return Logical(next_ += 65536); }
  Result<void> write(const TreeBlock&) override { return {}; }

 private:
  uint64_t next_ = 0;
};

// The items, which a leaf of the extent tree can hold: BulkTree has each checked as when it is read.
class Items {
 public:
  explicit Items(uint32_t nodesize, bool skinny = true) {
    BlockStamp stamp;
    stamp.geometry.nodesize = nodesize;
    stamp.geometry.sectorsize = 4096;
    stamp.geometry.generation = 1;
    stamp.geometry.checksum_size = 4;
    stamp.geometry.incompat = skinny ? incompat::skinny_metadata : 0;
    tree_.emplace(stamp, id::extent_tree, sink_);
  }
  Result<void> add(const Key& key, Bytes data) {
    items[key] = as_text(data);
    return tree_->add(key, data);
  }
  void expect_accepted() {
    auto done = tree_->finish();
    EXPECT_TRUE(done) << done.error().message();
  }
  size_t keyed() const { return items.size() - 1; }
  const std::string& extent() const { return items.begin()->second; }
  uint64_t refs() const { return overlay<ExtentItem>(as_bytes(extent()))->refs; }

  std::map<Key, std::string> items;

 private:
  DiscardingSink sink_;
  std::optional<BulkTree> tree_;
};

void give(Items& items, std::vector<DataReference> references, uint32_t nodesize) {
  std::sort(references.begin(), references.end(), [](const DataReference& a, const DataReference& b) {
    return std::tuple(hash_of(a), a.root, a.inode, a.offset) <
           std::tuple(hash_of(b), b.root, b.inode, b.offset);
  });
  uint64_t refs = 0;
  for (const DataReference& reference : references) refs += reference.count;
  auto done = data_extent_items(
      {address, 8192, 1, refs},
      [&](auto each) -> Result<void> {
        for (const DataReference& reference : references) TRY(each(reference));
        return {};
      },
      nodesize, [&](const Key& key, Bytes data) { return items.add(key, data); });
  ASSERT_TRUE(done) << done.error().message();
  items.expect_accepted();
}

// Each reference once, wherever it is.
std::map<std::tuple<uint64_t, uint64_t, uint64_t>, uint32_t> found(const Items& items) {
  std::map<std::tuple<uint64_t, uint64_t, uint64_t>, uint32_t> all;
  auto take = [&](Bytes bytes) {
    const auto& reference = *overlay<ExtentDataRef>(bytes);
    EXPECT_TRUE(all.emplace(std::tuple(uint64_t(reference.root), uint64_t(reference.objectid),
                                       uint64_t(reference.offset)),
                            uint32_t(reference.count))
                    .second);
  };
  for (const auto& [key, text] : items.items) {
    Bytes bytes = as_bytes(text);
    if (key.type == ItemType::extent_data_ref) {
      take(bytes);
      continue;
    }
    for (bytes = bytes.subspan(sizeof(ExtentItem)); !bytes.empty();
         bytes = bytes.subspan(1 + sizeof(ExtentDataRef)))
      take(bytes.subspan(1));
  }
  return all;
}

TEST(ExtentItems, OneReferenceStandsInTheItem) {
  Items items(16384);
  give(items, {{5, 257, 4096, 3}}, 16384);
  EXPECT_EQ(items.keyed(), 0u);
  EXPECT_EQ(items.items.begin()->first, (Key{address, ItemType::extent_item, 8192}));
  EXPECT_EQ(items.extent().size(), sizeof(ExtentItem) + 1 + sizeof(ExtentDataRef));
  EXPECT_EQ(items.refs(), 3u);
  EXPECT_EQ(found(items).at({5, 257, 4096}), 3u);
}

TEST(ExtentItems, ReferencesStandDownwardsByHash) {
  std::mt19937_64 random(5);
  std::vector<DataReference> references;
  for (int n = 0; n < 6; ++n)
    references.push_back({random() % 300, random() % 9999, random() % 64 * 4096, 1});
  Items items(16384);
  give(items, references, 16384);
  uint64_t last = ~0ull;
  for (size_t at = sizeof(ExtentItem); at < items.extent().size(); at += 1 + sizeof(ExtentDataRef)) {
    const auto& reference = *overlay<ExtentDataRef>(as_bytes(items.extent()), at + 1);
    const uint64_t hash = extent_data_ref_hash(reference.root, reference.objectid, reference.offset);
    EXPECT_LT(hash, last);
    last = hash;
  }
}

// As many as Linux would put there; the others are items of their own, and all are counted.
TEST(ExtentItems, ReferencesThatDoNotFitHaveItemsOfTheirOwn) {
  for (uint32_t nodesize : {4096u, 16384u, 65536u}) {
    std::vector<DataReference> references;
    for (uint32_t n = 0; n < 300; ++n) references.push_back({5, 300 + n, 4096 * n, n % 3 + 1});
    Items items(nodesize);
    give(items, references, nodesize);
    EXPECT_GT(items.keyed(), 100u);
    EXPECT_LE(items.extent().size(), (nodesize - sizeof(Header)) / 16 - sizeof(Item));
    EXPECT_GT(items.extent().size() + 1 + sizeof(ExtentDataRef),
              (nodesize - sizeof(Header)) / 16 - sizeof(Item));
    EXPECT_EQ(found(items).size(), 300u);
    EXPECT_EQ(items.refs(), 600u);
  }
}

// Linux looks for a reference from its hash on, item by item.
TEST(ExtentItems, ReferencesOfOneHashStandOneAfterTheOther) {
  // Among so many references of 32 bits of hash, two have the same.
  std::mt19937_64 random(5);
  std::map<uint64_t, DataReference> seen;
  std::vector<DataReference> references;
  while (references.empty() && seen.size() < 2'000'000) {
    const DataReference reference{5, random() >> 24, random() % (1 << 30) * 4096, 1};
    auto [at, is_new] =
        seen.emplace(extent_data_ref_hash(reference.root, reference.inode, reference.offset), reference);
    if (!is_new) references = {at->second, reference};
  }
  ASSERT_EQ(references.size(), 2u);
  const uint64_t hash = extent_data_ref_hash(5, references[0].inode, references[0].offset);
  // Smaller hashes fill the item.
  for (uint64_t root = 256; references.size() < 60 && root < 10'000; ++root)
    if (extent_data_ref_hash(root, 1, 0) < hash) references.push_back({root, 1, 0, 1});
  Items items(4096);
  give(items, references, 4096);
  EXPECT_TRUE(items.items.contains({address, ItemType::extent_data_ref, hash}));
  EXPECT_TRUE(items.items.contains({address, ItemType::extent_data_ref, hash + 1}));
  EXPECT_EQ(found(items).size(), 60u);
}

void give_tree(Items& items, std::vector<uint64_t> roots, uint32_t nodesize, bool skinny) {
  auto done = tree_extent_items({address, 1, {256, ItemType::inode_item, 0}}, 1, roots, nodesize, skinny,
                                [&](const Key& key, Bytes data) { return items.add(key, data); });
  ASSERT_TRUE(done) << done.error().message();
  items.expect_accepted();
}

TEST(ExtentItems, ATreeBlockHasItsLevelInTheKeyOrTheItem) {
  Items skinny(16384), full(16384, false);
  give_tree(skinny, {5}, 16384, true);
  EXPECT_EQ(skinny.items.begin()->first, (Key{address, ItemType::metadata_item, 1}));
  give_tree(full, {5}, 16384, false);
  EXPECT_EQ(full.items.begin()->first, (Key{address, ItemType::extent_item, 16384}));
  const auto& info = *overlay<TreeBlockInfo>(as_bytes(full.extent()), sizeof(ExtentItem));
  EXPECT_EQ(info.level, 1);
  EXPECT_EQ(info.key.key(), (Key{256, ItemType::inode_item, 0}));
}

TEST(ExtentItems, RootsOfATreeBlockStandDownwardsAndOverflowToo) {
  for (bool skinny : {true, false}) {
    std::vector<uint64_t> roots;
    for (uint64_t root = 256; root < 356; ++root) roots.push_back(root);
    Items items(4096, skinny);
    give_tree(items, roots, 4096, skinny);
    EXPECT_EQ(items.refs(), 100u);
    const size_t inline_roots =
        (items.extent().size() - sizeof(ExtentItem) - (skinny ? 0 : sizeof(TreeBlockInfo))) /
        sizeof(InlineRef);
    EXPECT_GT(inline_roots, 10u);
    EXPECT_EQ(inline_roots + items.keyed(), 100u);
    EXPECT_TRUE(items.items.contains({address, ItemType::tree_block_ref, 256}));
  }
}

}  // namespace
}  // namespace karst::btrfs

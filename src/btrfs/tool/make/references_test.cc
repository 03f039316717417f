// Uses of data extents, brought back in the order in which the extent tree has them.
#include "btrfs/tool/make/references.h"

#include <gtest/gtest.h>

#include <random>

namespace karst::btrfs {
namespace {

class ExtentReferencesTest : public ::testing::Test {
 protected:
  void use(uint64_t address, const DataReference& reference, uint64_t length = 4096) {
    const ReferenceKey key(address, reference);
    const ReferenceValue value{length, reference.count};
    ASSERT_TRUE(sorter_.add(bytes_of(key), bytes_of(value)));
  }
  ExtentReferences sorted(size_t kept_max) {
    EXPECT_TRUE(sorter_.finish());
    return {sorter_, {.temporary_directory = ::testing::TempDir(), .kept_max = kept_max}};
  }
  static std::vector<DataReference> uses_of(const ExtentReferences& extents) {
    std::vector<DataReference> uses;
    EXPECT_TRUE(extents.for_each([&](const DataReference& use) -> Result<void> {
      uses.push_back(use);
      return {};
    }));
    return uses;
  }

 private:
  ExternalSorter sorter_{{.directory = ::testing::TempDir()}};
};

TEST_F(ExtentReferencesTest, EqualUsesAreOneAndCounted) {
  use(8192, {5, 257, 0});
  use(4096, {5, 258, 4096, 2});
  use(4096, {5, 258, 4096, 3});
  ExtentReferences extents = sorted(100);
  ASSERT_TRUE(extents.next().value());
  EXPECT_EQ(extents.address(), 4096u);
  EXPECT_EQ(extents.count(), 5u);
  EXPECT_EQ(uses_of(extents), (std::vector<DataReference>{{5, 258, 4096, 5}}));
  ASSERT_TRUE(extents.next().value());
  EXPECT_EQ(extents.end(), 12288u);
  EXPECT_EQ(uses_of(extents), (std::vector<DataReference>{{5, 257, 0, 1}}));
  EXPECT_FALSE(extents.next().value());
}

// One block that very many files share: all its uses, of which few are in memory at once.
TEST_F(ExtentReferencesTest, OfOneExtentBeyondTheLimitWaitInAFile) {
  constexpr uint64_t count = 100'000;  // more than the file's own buffer holds
  std::mt19937_64 random(1);
  for (uint64_t n = 0; n < count; ++n) use(4096, {5, 256 + n, random() % 64 * 4096});
  use(8192, {5, 257, 0});
  ExtentReferences extents = sorted(10);
  ASSERT_TRUE(extents.next().value());
  EXPECT_EQ(extents.count(), count);
  EXPECT_EQ(extents.kept(), 10u);
  const auto uses = uses_of(extents);
  EXPECT_EQ(uses.size(), count);
  EXPECT_EQ(uses_of(extents), uses);
  EXPECT_TRUE(std::is_sorted(uses.begin(), uses.end(),
                             [](const auto& a, const auto& b) { return hash_of(a) < hash_of(b); }));
  ASSERT_TRUE(extents.next().value());
  EXPECT_EQ(extents.kept(), 1u);
  EXPECT_EQ(uses_of(extents).size(), 1u);
}

TEST_F(ExtentReferencesTest, OfOneExtentWithTwoLengthsAreABug) {
  use(4096, {5, 257, 0}, 4096);
  use(4096, {5, 258, 0}, 8192);
  EXPECT_TRUE(sorted(10).next().error().is(karst::err::corrupt));
}

}  // namespace
}  // namespace karst::btrfs

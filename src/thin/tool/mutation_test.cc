// Thousands of pools with bytes changed and seals made right again: no tool crashes or runs on without end,
// and whatever repair makes is consistent.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>

#include "thin/tool/testing_pools.h"

namespace karst::thin {
namespace {

using namespace testing;

constexpr BlockKind kinds[] = {BlockKind::superblock, BlockKind::node, BlockKind::index, BlockKind::bitmap};

// One that has been in use: old blocks are there too.
std::vector<std::byte> contents(const block::Device& disk) {
  std::vector<std::byte> bytes(disk.size());
  const_cast<block::Device&>(disk).read(0, bytes).value();
  return bytes;
}

class Mutations {
 public:
  explicit Mutations(const block::Device& disk) : whole_(contents(disk)) {
    for (uint64_t block = 0; block * metadata_block_size < whole_.size(); ++block)
      for (const BlockKind kind : kinds)
        if (check_seal(kind, MetadataBlock{block},
                       Bytes(whole_).subspan(block * metadata_block_size, metadata_block_size)))
          sealed_.emplace_back(MetadataBlock{block}, kind);
  }

  void spoil(block::Device& disk, std::mt19937_64& random) {
    disk.write(0, whole_).value();
    for (uint64_t i = 0; i <= random() % 3; ++i) {
      const auto [number, kind] = sealed_[random() % 8 == 0 ? 0 : random() % sealed_.size()];
      change_block(disk, number, kind, [&](MutableBytes block) { change(block, random); });
    }
  }

 private:
  // Headers and small numbers matter more than the rest.
  static void change(MutableBytes block, std::mt19937_64& random) {
    const size_t at = random() % 2 ? random() % 400 : random() % block.size();
    if (random() % 2) {
      block[at] ^= std::byte{1} << random() % 8;
      return;
    }
    const uint64_t values[] = {0, 1, 3, 12, 84, 126, 252, 2000, ~uint64_t{0}, uint64_t{1} << 63, random()};
    const uint64_t value = values[random() % std::size(values)];
    const size_t length = std::min<size_t>(random() % 2 ? 4 : 8, block.size() - at);
    std::memcpy(block.data() + at, &value, length);
  }

  std::vector<std::byte> whole_;
  std::vector<std::pair<MetadataBlock, BlockKind>> sealed_;
};

TEST(ThinMutation, NoToolCrashes) {
  const char* wanted = std::getenv("KARST_MUTATION_CASES");
  const int cases = wanted ? std::atoi(wanted) : 150;
  const auto disk = make_pool({.metadata_size = 1 << 20, .metadata_snapshot = true});
  Mutations mutations(*disk);
  const auto repaired = blank_metadata(1 << 20);
  int bad = 0, again = 0;
  for (int number = 0; number < cases; ++number) {
    SCOPED_TRACE(fmt::format("case {}", number));
    std::mt19937_64 random(number);
    mutations.spoil(*disk, random);
    const auto checked = check(*disk);
    bad += !checked || !checked->report.good;
    (void)dump_text(*disk);
    (void)dump_text(*disk, {.snapshot = true});
    const auto salvaged = repair(*disk, *repaired, {.data_block_size = 128, .nr_data_blocks = 20000});
    if (salvaged) {
      ++again;
      const auto after = check(*repaired);
      ASSERT_TRUE(after) << after.error().message();
      EXPECT_TRUE(after->report.good);
    }
    // What is found good can be dumped.
    if (checked && checked->report.good) {
      EXPECT_TRUE(dump_text(*disk));
    }
    (void)check(*disk, {.repair_leaks = true, .clear_needs_check = true});
  }
  EXPECT_GT(bad, cases / 2);
  EXPECT_GT(again, cases / 2);
}

}  // namespace
}  // namespace karst::thin

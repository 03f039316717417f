// Images spoiled at random, with their checksums made right again so that what is behind those is reached.
// Each must end in errors or in data: no crash, no hang, no memory without bound (BT-021, CO-007).
//
//   KARST_MUTATION_CASES  how many of each image (default 30; fewer of those with many blocks, as each case
//   reads all) KARST_MUTATION_SEED   of the first one (default 1); a case that fails prints its own
//
// One case again: KARST_MUTATION_SEED=N KARST_MUTATION_CASES=1.
#include <gtest/gtest.h>

#include "btrfs/tool/testing_mutation.h"
#include "btrfs/tool/testing_watch.h"

// Under the address sanitizer, no single allocation may be larger than this.
extern "C" const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "max_allocation_size_mb=512"; }

namespace karst::btrfs::testing {
namespace {

constexpr const char* images[] = {
    "nodesize-4k",
    "levels-4k",
    "compress-lzo-4k-no-holes-off",
    "compress-zstd",
    "oldest",
    "squota",
    "raid5-raid1-4",
    "raid1c3-3",
    "mixed-bg-dup",
    "quota",
    "subvolumes",
    "snapshots-4k",
    "backrefs-4k",
    "log-data-sha256-4k",
    "log-directories",
    "log-links-4k",
    "block-group-tree",
    "replaced-device-2",
    "space-cache-v1",
    "sectorsize-64k-zlib",
};

class Mutations : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Images, Mutations, ::testing::ValuesIn(images), [](const auto& parameter) {
  std::string name = parameter.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(Mutations, EndInErrorsOrData_BT021_BT035_CO007) {
  const uint64_t first = number_from("KARST_MUTATION_SEED", 1);
  PristineImage pristine(GetParam());
  ASSERT_FALSE(pristine.blocks().empty());
  const uint64_t many_blocks = std::max<uint64_t>(1, pristine.blocks().size() / 150);
  const uint64_t cases = std::max<uint64_t>(1, number_from("KARST_MUTATION_CASES", 30) / many_blocks);
  Exerciser exerciser;
  Watch watch;
  uint64_t opened = 0, with_errors = 0;
  double slowest = 0;
  const uint64_t resident = peak_resident();
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    watch.begin(fmt::format("{}, KARST_MUTATION_SEED={} KARST_MUTATION_CASES=1", GetParam(), seed));
    Outcome outcome = exerciser.run(pristine, Mutator(pristine, seed));
    slowest = std::max(slowest, watch.end());
    opened += outcome.opened;
    with_errors += outcome.errors > 0;
    ASSERT_EQ(exerciser.cache().statistics().pinned_folios, 0u) << "seed " << seed;
  }
  EXPECT_LT(peak_resident() - resident, resident_growth_max);
  std::printf("%s: seeds %lu to %lu: %lu opened, %lu with errors; slowest %.3f s\n", GetParam(), first,
              first + cases - 1, opened, with_errors, slowest);
}

TEST(Unchanged, IsUsedWithoutErrors) {
  for (const char* name : images) {
    PristineImage pristine(name);
    Outcome outcome = Exerciser({.archive_limit = 1 << 30}).run(pristine, [](auto&) {});
    EXPECT_TRUE(outcome.opened) << name;
    EXPECT_EQ(outcome.errors, 0u) << name;
    EXPECT_GT(outcome.archive_bytes, 10240u) << name;
    EXPECT_GT(outcome.dumped, 10000u) << name;
  }
}

}  // namespace
}  // namespace karst::btrfs::testing

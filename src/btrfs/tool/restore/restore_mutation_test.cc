// Images spoiled at random and restored: each ends in files and losses, or is refused; without a crash, a
// hang, or memory without bound (BT-021, CO-007). Half of the cases have the checksums of what was spoiled
// made right again.
//
// KARST_MUTATION_CASES and KARST_MUTATION_SEED as in tool/mutation_test.cc.
#include <gtest/gtest.h>

#include "btrfs/tool/restore/testing_restore.h"
#include "btrfs/tool/testing_watch.h"

namespace karst::btrfs::testing {
namespace {

class RestoreMutations : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Images, RestoreMutations,
                         ::testing::Values("everything", "levels-4k", "raid5-3", "raid10-4", "random-4k",
                                           "nodesize-4k", "snapshots-4k", "log-directories", "mixed-bg-dup",
                                           "links", "compress-zstd"),
                         [](const auto& parameter) {
                           std::string name = parameter.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// Bytes of some tree blocks, in all copies, whose checksums are not made right.
void spoil_blocks(const PristineImage& image, uint64_t seed, Devices& devices) {
  std::mt19937_64 random(seed);
  for (uint64_t count = 1 + random() % 8; count > 0; --count) {
    const uint64_t bytenr = image.blocks()[random() % image.blocks().size()].bytenr;
    image.write_block(devices, bytenr, std::vector<std::byte>(image.geometry().nodesize, std::byte{1}));
  }
}

TEST_P(RestoreMutations, EndInFilesAndLosses_BT021_CO007) {
  const uint64_t first = number_from("KARST_MUTATION_SEED", 1);
  PristineImage pristine(GetParam());
  const uint64_t many_blocks = std::max<uint64_t>(1, pristine.blocks().size() / 150);
  const uint64_t cases = std::max<uint64_t>(1, number_from("KARST_MUTATION_CASES", 30) / many_blocks);
  Salvager salvager(16 << 20);
  Watch watch;
  uint64_t opened = 0, with_losses = 0;
  const uint64_t resident = peak_resident();
  for (uint64_t seed = first; seed < first + cases; ++seed) {
    watch.begin(fmt::format("restoring {}, KARST_MUTATION_SEED={} KARST_MUTATION_CASES=1", GetParam(), seed));
    auto devices = [&] {
      auto made = pristine.overlays();
      if (seed % 2)
        spoil_blocks(pristine, seed, made);
      else
        Mutator(pristine, seed)(made);
      return made;
    };
    const auto outcome = salvager.run(devices, {.ignore_checksums = seed % 4 >= 2});
    watch.end();
    opened += outcome.opened;
    with_losses += outcome.losses > 0;
    ASSERT_EQ(salvager.cache().statistics().pinned_folios, 0u) << "seed " << seed;
  }
  EXPECT_LT(peak_resident() - resident, resident_growth_max);
  std::printf("%s: seeds %lu to %lu: %lu opened, %lu with losses\n", GetParam().c_str(), first,
              first + cases - 1, opened, with_losses);
}

}  // namespace
}  // namespace karst::btrfs::testing

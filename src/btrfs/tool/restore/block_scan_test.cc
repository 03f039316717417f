// Tree blocks found by what they say of themselves.
#include "btrfs/tool/restore/block_scan.h"

#include <gtest/gtest.h>

#include <set>

#include "block/faulty_device.h"
#include "btrfs/tool/testing_mutation.h"

namespace karst::btrfs::testing {
namespace {

std::set<uint64_t> found_on(Devices devices) {
  std::set<uint64_t> found;
  auto volume = Volume::open(std::move(devices), {}, Logger());
  if (!volume) return found;
  (void)scan_devices(**volume, {}, [&](const TreeBlock& block) -> Result<void> {
    found.insert(block.bytenr());
    return {};
  });
  return found;
}

// One sector that cannot be read is one block, not all that would have been read with it.
TEST(BlockScan, PassesOverUnreadableSectors_BT035) {
  const PristineImage image("single-1");
  const std::set<uint64_t> all = found_on(image.overlays());
  ASSERT_GT(all.size(), 2u);
  Devices below = image.overlays();
  const Place place = image.place_of(*all.begin());
  block::FaultPlan plan;
  plan.faults.push_back({.begin = place.offset, .end = place.offset + 1, .times = block::Fault::forever});
  Devices devices;
  devices.push_back(std::make_unique<block::FaultyDevice>(*below[0], plan));
  std::set<uint64_t> expected = all;
  expected.erase(*all.begin());
  EXPECT_EQ(found_on(std::move(devices)), expected);
}

}  // namespace
}  // namespace karst::btrfs::testing

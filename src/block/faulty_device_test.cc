#include "block/faulty_device.h"

#include <gtest/gtest.h>

#include "block/memory_device.h"

namespace karst::block {
namespace {

class FaultyTest : public ::testing::Test {
 protected:
  static constexpr uint64_t size = 1 << 20;
  std::unique_ptr<MemoryDevice> below_ = MemoryDevice::create(size, 4096).value();

  static std::vector<std::byte> filled(size_t length, char letter) {
    return std::vector<std::byte>(length, static_cast<std::byte>(letter));
  }
  static std::vector<std::byte> read(Device& device, uint64_t offset, size_t length) {
    std::vector<std::byte> bytes(length);
    EXPECT_TRUE(device.read(offset, bytes));
    return bytes;
  }
};

TEST_F(FaultyTest, TheNthRequestOfAKindFailsOnce) {
  FaultyDevice device(*below_, {.faults = {{.op = IoOp::write, .nth = 3}}});
  std::string outcomes;
  for (int i = 0; i < 5; ++i) outcomes += device.write(0, filled(4096, 'a')) ? '+' : '-';
  EXPECT_EQ(outcomes, "++-++");
  EXPECT_EQ(device.faults_met(), 1u);
  EXPECT_TRUE(device.flush());
}

TEST_F(FaultyTest, OrFromThenOnForGood) {
  FaultyDevice device(
      *below_,
      {.faults = {{.op = IoOp::flush, .nth = 2, .times = Fault::forever, .error_kind = &err::no_space}}});
  EXPECT_TRUE(device.flush());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(device.flush().error().is(err::no_space));
}

TEST_F(FaultyTest, OnlyRequestsThatTouchTheRangeMeetTheFault) {
  FaultyDevice device(*below_,
                      {.faults = {{.op = IoOp::read, .begin = 8192, .end = 12288, .times = Fault::forever}}});
  std::vector<std::byte> bytes(4096);
  EXPECT_TRUE(device.read(4096, bytes));
  EXPECT_FALSE(device.read(8192, bytes));
  EXPECT_FALSE(device.read(6000, bytes));
  EXPECT_TRUE(device.read(12288, bytes));
}

TEST_F(FaultyTest, FlippedBitsAreTheSameInEveryReadAndOnlyInTheirRange) {
  FaultyDevice device(*below_, {.faults = {{.kind = Fault::Kind::flip_bits,
                                            .op = IoOp::read,
                                            .begin = 4096,
                                            .end = 8192,
                                            .times = Fault::forever,
                                            .bits = 3}}});
  const auto first = read(device, 0, 12288);
  EXPECT_EQ(read(device, 0, 12288), first);
  EXPECT_EQ(std::ranges::count_if(first, [](std::byte byte) { return byte != std::byte{}; }), 3);
  const auto part = read(device, 5000, 3192);
  EXPECT_TRUE(std::equal(part.begin(), part.end(), first.begin() + 5000));
  EXPECT_EQ(read(*below_, 0, 12288), filled(12288, 0));
}

TEST_F(FaultyTest, ALostWriteSaysThatItWasDone) {
  FaultyDevice device(*below_, {.faults = {{.kind = Fault::Kind::lost_write}}});
  EXPECT_TRUE(device.write(0, filled(4096, 'a')));
  EXPECT_EQ(read(device, 0, 4096), filled(4096, 0));
}

TEST_F(FaultyTest, ATornWriteIsThereInPart) {
  for (uint64_t seed = 1; seed < 20; ++seed) {
    ASSERT_TRUE(below_->write_zeroes(0, size));
    FaultyDevice device(*below_, {.seed = seed, .faults = {{.kind = Fault::Kind::torn_write}}});
    EXPECT_TRUE(device.write(0, filled(16384, 'a')));
    const auto result = read(device, 0, 16384);
    const auto written = std::ranges::count(result, std::byte{'a'});
    EXPECT_TRUE(written > 0 && written < 16384 && written % 4096 == 0) << seed;
  }
}

TEST_F(FaultyTest, AMisdirectedReadReturnsOtherBytes) {
  ASSERT_TRUE(below_->write(4096, filled(4096, 'b')));
  FaultyDevice device(*below_, {.faults = {{.kind = Fault::Kind::misdirected, .op = IoOp::read}}});
  EXPECT_EQ(read(device, 0, 4096), filled(4096, 'b'));
  EXPECT_EQ(read(device, 0, 4096), filled(4096, 0));
}

TEST_F(FaultyTest, TheHookSeesEachRequestBeforeItIsDone) {
  std::vector<IoOp> seen;
  FaultyDevice device(*below_, {.before = [&](const IoRequest& request) { seen.push_back(request.op); }});
  ASSERT_TRUE(device.write(0, filled(4096, 'a')));
  ASSERT_TRUE(device.flush());
  EXPECT_EQ(seen, (std::vector{IoOp::write, IoOp::flush}));
}

// The loop that fault tests are made of: fail the nth request until a run has no failure.
TEST_F(FaultyTest, APlanWithNoEffectCanBeTold) {
  int runs = 0;
  for (uint64_t nth = 1;; ++nth, ++runs) {
    FaultyDevice device(*below_, {.faults = {{.nth = nth}}});
    for (int i = 0; i < 4; ++i) std::ignore = device.write(0, filled(4096, 'a'));
    if (device.faults_met() == 0) break;
  }
  EXPECT_EQ(runs, 4);
}

}  // namespace
}  // namespace karst::block

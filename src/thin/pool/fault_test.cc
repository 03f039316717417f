// What faults of the data device do: the request that met one says so, what others have is not touched, the
// pool stays in the mode that Linux's would be in (drivers/md/dm-thin.c), and reads go on. Faults of the
// metadata: race_test.cc.
#include <thread>

#include "thin/format/errors.h"
#include "thin/pool/testing_pool.h"
#include "thin/tool/testing_pools.h"

namespace karst::thin {
namespace {

using namespace testing_pool;
using block::Fault;
using block::IoFlags;
using block::IoOp;

constexpr uint64_t blocks = 64, volume_blocks = 32;

class FaultTest : public PoolTest {
 protected:
  // Volume 0 with blocks 0 to 7, and a snapshot of it, volume 1; all of it durable.
  void SetUp() override {
    devices = std::make_unique<Devices>(blocks);
    faulty = std::make_unique<block::FaultyDevice>(*devices->data, block::FaultPlan{});
    open_on(*devices->metadata, *faulty);
    one = create(0, volume_blocks);
    for (uint64_t i = 0; i < 8; ++i) ASSERT_TRUE(one->write(i * block_bytes, pattern(i, block_bytes)));
    ASSERT_TRUE(pool->create_snap(1, 0));
    two = volume(1, volume_blocks);
    ASSERT_TRUE(one->flush());
    ASSERT_TRUE(pool->quiesce());
  }
  void TearDown() override {
    one.reset();
    two.reset();
    pool.reset();
    const auto checked = thin::testing::check(*devices->metadata);
    ASSERT_TRUE(checked) << checked.error().message();
    EXPECT_TRUE(checked->report.good);
    EXPECT_TRUE(checked->findings.empty()) << checked->findings.begin()->first;
  }
  static bool failed(const Result<void>& outcome, const ErrorKind& kind) {
    return !outcome && outcome.error().is(kind);
  }
  void expect_kept(Volume& volume) {
    for (uint64_t i = 0; i < 8; ++i)
      EXPECT_EQ(read_all(volume, i * block_bytes, block_bytes), pattern(i, block_bytes)) << i;
  }
  void fail(IoOp op, uint64_t nth = 1, uint64_t times = 1, const ErrorKind& kind = err::io) {
    faulty->set_faults({{.op = op, .nth = nth, .times = times, .error_kind = &kind}});
  }

  std::unique_ptr<block::FaultyDevice> faulty;
  VolumeRef one, two;
  std::vector<std::byte> bytes = pattern(50, 4096);
};

TEST_F(FaultTest, AReadThatFailsIsTheReadersAlone) {
  std::vector<std::byte> into(4096);
  fail(IoOp::read);
  EXPECT_TRUE(failed(one->read(0, into), err::io));
  EXPECT_EQ(pool->mode(), PoolMode::write);
  EXPECT_TRUE(one->read(0, into));
  expect_kept(*one);
}

TEST_F(FaultTest, AWriteInPlaceThatFailsIsTheWritersAlone) {
  fail(IoOp::write);
  ASSERT_TRUE(failed(one->write(10 * block_bytes, bytes), err::io));  // provisions, and fails
  ASSERT_TRUE(one->write(10 * block_bytes, bytes));
  fail(IoOp::write);
  EXPECT_TRUE(failed(one->write(10 * block_bytes, bytes), err::io));
  EXPECT_EQ(pool->mode(), PoolMode::write);
  EXPECT_TRUE(one->write(10 * block_bytes, bytes));
  EXPECT_TRUE(one->flush());
}

// TH-054: copying and zeroing have one way to fail, the end of the request that needed them; then nothing is
// mapped, and the block that was taken for it is free again.
TEST_F(FaultTest, ABlockThatCannotBeMadeIsNotMapped_TH054) {
  const uint64_t before = used();
  fail(IoOp::write);
  EXPECT_TRUE(failed(one->write(20 * block_bytes + 4096, bytes), err::io));
  EXPECT_EQ(read_all(*one, 20 * block_bytes, block_bytes), std::vector<std::byte>(block_bytes));
  fail(IoOp::write);
  EXPECT_TRUE(failed(two->write(3 * block_bytes, bytes), err::io));
  fail(IoOp::read);
  EXPECT_TRUE(failed(two->write(3 * block_bytes, bytes), err::io));
  faulty->set_faults({});
  expect_kept(*two);
  expect_kept(*one);
  EXPECT_EQ(pool->mode(), PoolMode::write);
  ASSERT_TRUE(pool->quiesce());
  EXPECT_EQ(used(), before);
  ASSERT_TRUE(two->write(3 * block_bytes, bytes));
  EXPECT_EQ(used(), before + 1);
}

// TH-010: metadata whose data may be lost is not committed. As Linux's, the pool gives the transaction up and
// is read-only; what was durable is there.
TEST_F(FaultTest, AFlushThatFailsEndsTheTransaction_TH010_TH021) {
  ASSERT_TRUE(one->write(20 * block_bytes, bytes));
  fail(IoOp::flush);
  EXPECT_FALSE(one->flush());
  EXPECT_EQ(pool->mode(), PoolMode::read_only);
  EXPECT_TRUE(pool->status().needs_check);
  expect_kept(*one);
  expect_kept(*two);
  EXPECT_EQ(read_all(*one, 20 * block_bytes, 4096), std::vector<std::byte>(4096));
  EXPECT_FALSE(one->write(21 * block_bytes, bytes));
  EXPECT_FALSE(one->flush());
}

// Without anything to commit, the flush's error is its caller's; but nobody is told later that all is well.
TEST_F(FaultTest, AFlushOfDataAloneThatFailsIsRemembered) {
  ASSERT_TRUE(one->write(10 * block_bytes, bytes));
  ASSERT_TRUE(pool->quiesce());
  ASSERT_TRUE(one->write(10 * block_bytes, bytes));
  fail(IoOp::flush);
  EXPECT_FALSE(one->flush());
  EXPECT_FALSE(one->flush());
  EXPECT_FALSE(two->flush());
  expect_kept(*one);
}

TEST_F(FaultTest, ADataDeviceThatIsFullFailsTheWriteAlone) {
  // A sparse file on a full file system.
  fail(IoOp::write, 1, Fault::forever, err::no_space);
  const auto written = one->write(20 * block_bytes, bytes);
  ASSERT_FALSE(written);
  EXPECT_TRUE(failed(written, err::no_space));
  EXPECT_EQ(pool->mode(), PoolMode::write);
  expect_kept(*one);
  faulty->set_faults({});
  EXPECT_TRUE(one->write(20 * block_bytes, bytes));
}

// TH-049, TH-050 (under the leak sanitizer): what is passed down is a hint. Whichever piece of it fails, the
// range is unmapped, its blocks are free, and the request has one outcome; the kernel's is success.
TEST_F(FaultTest, APieceOfAPassdownThatFailsChangesNothing_TH049) {
  // Every other block is the volume's own: pieces.
  for (uint64_t i = 0; i < 8; i += 2) ASSERT_TRUE(one->write(i * block_bytes, bytes));
  ASSERT_TRUE(pool->quiesce());
  for (const uint64_t nth : {1, 2}) {
    const uint64_t before = used();
    for (uint64_t i = 20; i < 28; i += 2) {
      ASSERT_TRUE(one->write(i * block_bytes, bytes));
      ASSERT_TRUE(two->write(i * block_bytes, bytes));
    }
    const uint64_t met = faulty->faults_met();
    fail(IoOp::discard, nth);
    EXPECT_TRUE(one->discard(20 * block_bytes, 8 * block_bytes));
    EXPECT_EQ(faulty->faults_met(), met + 1);
    EXPECT_EQ(pool->mode(), PoolMode::write);
    EXPECT_EQ(read_all(*one, 20 * block_bytes, 8 * block_bytes), std::vector<std::byte>(8 * block_bytes));
    ASSERT_TRUE(two->discard(20 * block_bytes, 8 * block_bytes));
    ASSERT_TRUE(pool->quiesce());
    EXPECT_EQ(used(), before);
  }
  expect_kept(*two);
}

// TH-043: what is unmapped counts as used until it has been passed down, which needs no change of counts
// that could fail after the unmapping. Whichever read of the metadata fails while a range is unmapped, the
// order stops there: the transaction is given up, the pool is read-only, nothing is passed down, then or
// later.
TEST_F(FaultTest, AnUnmappingThatFailsPassesNothingDown_TH043) {
  unsigned failures = 0;
  for (uint64_t nth = 1;; ++nth) {
    one.reset();
    two.reset();
    pool.reset();
    // Trees of two levels that nobody has read yet.
    devices = std::make_unique<Devices>(2000);
    open();
    create(0, 2000);
    for (uint64_t i = 0; i < 600; ++i) ASSERT_TRUE(volume(0, 2000)->write(i * 3 % 2000 * block_bytes, bytes));
    pool.reset();
    block::FaultyDevice metadata(*devices->metadata, {});
    faulty = std::make_unique<block::FaultyDevice>(*devices->data, block::FaultPlan{});
    cache::Cache empty{{.limit = 16 << 20}};
    auto opened = Pool::open(metadata, *faulty, empty, block_sectors, options);
    ASSERT_TRUE(opened) << opened.error().message();
    pool = std::move(*opened);
    one = volume(0, 2000);
    faulty->set_faults({{.op = IoOp::discard, .times = Fault::forever}});  // counts them
    metadata.set_faults({{.op = IoOp::read, .nth = nth}});
    const auto discarded = one->discard(0, 1000 * block_bytes);
    const bool met = metadata.faults_met() > 0;
    metadata.set_faults({});
    if (met) {
      ++failures;
      EXPECT_TRUE(failed(discarded, err::io)) << nth;
      EXPECT_EQ(pool->mode(), PoolMode::read_only);
      pool->tick();
      EXPECT_EQ(faulty->faults_met(), 0);
      one.reset();
      pool.reset();
      EXPECT_EQ(faulty->faults_met(), 0);
      open();
      EXPECT_EQ(used(), 600);
      for (uint64_t i = 0; i < 600; ++i)
        EXPECT_EQ(read_all(*volume(0, 2000), i * 3 % 2000 * block_bytes, bytes.size()), bytes);
      continue;
    }
    EXPECT_TRUE(discarded);
    EXPECT_GT(faulty->faults_met(), 0);
    one.reset();
    pool.reset();
    break;
  }
  EXPECT_GT(failures, 2);
}

// TH-044: a block that is to be mapped has one owner at each stage. Whichever stage fails (the old bytes are
// read, the block is written, zeroes around the bytes are, the mapping is entered), the request fails,
// nothing is mapped, and every block of the pool can still be had, once.
TEST_F(FaultTest, ABlockIsNeitherLostNorUsedTwiceWhicheverStageFails_TH044) {
  const uint64_t before = used();
  struct Stage {
    const char* name;
    IoOp op;
    uint64_t offset, nth;
    Volume* volume;
  };
  for (const Stage& stage : {Stage{"read of the old bytes", IoOp::read, 3 * block_bytes, 1, two.get()},
                             {"write of a copy", IoOp::write, 3 * block_bytes, 1, two.get()},
                             {"write of a new block", IoOp::write, 20 * block_bytes, 1, one.get()}}) {
    fail(stage.op, stage.nth);
    const uint64_t met = faulty->faults_met();
    EXPECT_TRUE(failed(stage.volume->write(stage.offset, bytes), err::io)) << stage.name;
    EXPECT_EQ(faulty->faults_met(), met + 1) << stage.name;
    EXPECT_EQ(pool->mode(), PoolMode::write) << stage.name;
    ASSERT_TRUE(pool->quiesce());
    EXPECT_EQ(used(), before) << stage.name;
  }
  faulty->set_faults({});
  // Entering the mapping fails only with the transaction (race_test.cc).
  const auto filler = create(2, blocks);
  for (uint64_t i = 0; i < blocks - before; ++i)
    ASSERT_TRUE(filler->write(i * block_bytes, pattern(100 + i, block_bytes))) << i;
  EXPECT_EQ(used(), blocks);
  for (uint64_t i = 0; i < blocks - before; ++i)
    EXPECT_EQ(read_all(*filler, i * block_bytes, block_bytes), pattern(100 + i, block_bytes)) << i;
  expect_kept(*two);
}

// The n-th request of the data device fails, whatever it is, while volumes are written, read, trimmed and
// flushed by several threads; each of them is answered, and after a flush that succeeded its data is there.
TEST_F(FaultTest, EveryFailureOfTheDataIsAnswered) {
  for (uint64_t nth = 1; nth < 80; nth += 3) {
    one.reset();
    two.reset();
    pool.reset();
    SetUp();
    if (HasFatalFailure()) return;
    faulty->set_faults({{.nth = nth, .times = 2}});
    std::vector<std::thread> threads;
    std::array<std::optional<uint64_t>, 2> durable;
    for (const auto& [volume, slot] : {std::pair{one, 0}, {two, 1}})
      threads.emplace_back([&durable, volume = volume, slot = static_cast<size_t>(slot)] {
        const uint64_t base = 10 * block_bytes;
        for (uint64_t version = 0; version < 12; ++version) {
          const bool written =
              volume->write(base + version * 8192, pattern(version + 1000 * slot, 8192)).has_value();
          static_cast<void>(volume->discard(9 * block_bytes, block_bytes));
          static_cast<void>(volume->write(9 * block_bytes, pattern(1, 4096)));
          if (written && volume->flush()) durable[slot] = version;
          std::vector<std::byte> into(4096);
          static_cast<void>(volume->read(0, into));
        }
      });
    for (auto& thread : threads) thread.join();
    faulty->set_faults({});
    EXPECT_NE(pool->mode(), PoolMode::fail);
    expect_kept(*one);
    expect_kept(*two);
    one.reset();
    two.reset();
    pool.reset();
    open();
    for (const size_t slot : {size_t{0}, size_t{1}})
      if (durable[slot]) {
        EXPECT_EQ(read_all(*volume(static_cast<DeviceId>(slot), volume_blocks),
                           10 * block_bytes + *durable[slot] * 8192, 8192),
                  pattern(*durable[slot] + 1000 * slot, 8192));
      }
    one = volume(0, volume_blocks);
    two = volume(1, volume_blocks);
  }
}

}  // namespace
}  // namespace karst::thin

// When memory ends (TH-028): from its n-th allocation on, none of a step succeeds. Whatever the step says
// then, what was acknowledged is there, the pool goes on or is read-only, and what is on its devices is
// consistent.
#include "block/overlay_device.h"
#include "core/testing_allocation.h"
#include "thin/format/errors.h"
#include "thin/pool/testing_pool.h"
#include "thin/tool/testing_pools.h"

namespace karst::thin {
namespace {

using namespace testing_pool;
using karst::testing::FailingAllocations;

constexpr uint64_t blocks = 64, volume_blocks = 24;

class NoMemoryTest : public PoolTest {
 protected:
  // Volume 0 with blocks 0 to 7, and a snapshot of it, volume 1; all of it durable.
  void begin() {
    one.reset();
    two.reset();
    pool.reset();
    make(blocks);
    one = create(0, volume_blocks);
    for (uint64_t i = 0; i < 8; ++i) ASSERT_TRUE(one->write(i * block_bytes, pattern(i, block_bytes)));
    ASSERT_TRUE(pool->create_snap(1, 0));
    two = volume(1, volume_blocks);
    ASSERT_TRUE(one->write(0, pattern(100, block_bytes)));
    ASSERT_TRUE(one->flush());
    read_all(*one, 0, volume_blocks * block_bytes);  // every mapping is known
    read_all(*two, 0, volume_blocks * block_bytes);
  }
  void expect_kept(Volume& volume) {
    for (uint64_t i = 0; i < 8; ++i)
      EXPECT_EQ(read_all(volume, i * block_bytes, block_bytes),
                pattern(volume.id() == 0 && i == 0 ? 100 : i, block_bytes))
          << volume.id() << " block " << i;
  }

  // Runs the step in a new pool with ever more allocations that succeed, until all do. `after` is called when
  // there is memory again, with whether the step succeeded.
  void fail_each(const std::function<Result<void>()>& step, const std::function<void(bool)>& after) {
    int failures = 0;
    for (int n = 0, met = 1; met != 0; ++n) {
      ASSERT_LT(n, 20000);
      begin();
      bool succeeded = false;
      {
        const FailingAllocations failing(n);
        try {
          succeeded = step().has_value();
        } catch (const std::bad_alloc&) {
        }
        met = failing.met();
      }
      failures += !succeeded;
      ASSERT_TRUE(succeeded || met) << "fails with memory, too";
      SCOPED_TRACE(n);
      after(succeeded);
      EXPECT_NE(pool->mode(), PoolMode::fail);
      // As the next one finds it.
      one.reset();
      two.reset();
      pool.reset();
      expect_consistent();
      if (HasFailure()) return;
    }
    EXPECT_GT(failures, 0) << "the step needs no memory";
  }
  void expect_consistent() {
    const auto checked = thin::testing::check(*devices->metadata);
    ASSERT_TRUE(checked) << checked.error().message();
    EXPECT_TRUE(checked->report.good);
    EXPECT_TRUE(checked->findings.empty()) << checked->findings.begin()->first;
  }

  VolumeRef one, two;
};

// Nothing is allocated on the way of what is mapped.
TEST_F(NoMemoryTest, WhatIsMappedIsReadAndWrittenWithoutMemory_TH028) {
  begin();
  std::vector<std::byte> bytes(block_bytes), changed = pattern(7, block_bytes);
  Result<void> read, written, flushed, zeroes;
  {
    const FailingAllocations failing(0);
    read = two->read(block_bytes, bytes);
    zeroes = one->read(20 * block_bytes, changed);
    written = one->write(0, bytes);
    flushed = one->flush();
  }
  ASSERT_TRUE(read && written && flushed && zeroes);
  EXPECT_EQ(bytes, pattern(1, block_bytes));
  EXPECT_EQ(read_all(*one, 0, block_bytes), pattern(1, block_bytes));
}

TEST_F(NoMemoryTest, Provisioning_TH028) {
  const auto bytes = pattern(50, 4096);
  fail_each([&] { return one->write(10 * block_bytes + 4096, bytes); },
            [&](bool succeeded) {
              expect_kept(*one);
              expect_kept(*two);
              if (succeeded) {
                EXPECT_EQ(read_all(*one, 10 * block_bytes + 4096, 4096), bytes);
              }
            });
}

TEST_F(NoMemoryTest, BreakingSharing_TH028) {
  const auto bytes = pattern(50, 4096);
  fail_each([&] { return two->write(3 * block_bytes, bytes); },
            [&](bool succeeded) {
              expect_kept(*one);
              const auto found = read_all(*two, 3 * block_bytes, block_bytes);
              auto expected = pattern(3, block_bytes);
              EXPECT_TRUE(succeeded || found == expected);
              if (succeeded) std::ranges::copy(bytes, expected.begin());
              EXPECT_EQ(found, expected);
            });
}

TEST_F(NoMemoryTest, FlushingWhatIsNew_TH028) {
  const auto bytes = pattern(50, block_bytes);
  fail_each(
      [&]() -> Result<void> {
        TRY(one->write(12 * block_bytes, bytes));
        return one->flush();
      },
      [&](bool succeeded) {
        expect_kept(*one);
        expect_kept(*two);
        if (succeeded) {
          // What is durable, without the commit of a pool that is closed.
          block::OverlayDevice metadata(*devices->metadata), data(*devices->data);
          cache::Cache other{{.limit = 16 << 20}};
          PoolRef after = Pool::open(metadata, data, other, block_sectors, options).value();
          EXPECT_EQ(
              read_all(**after->open_volume(0, volume_blocks * block_bytes), 12 * block_bytes, block_bytes),
              bytes);
        }
      });
}

TEST_F(NoMemoryTest, Discarding_TH028) {
  fail_each([&] { return one->discard(0, 8 * block_bytes); },
            [&](bool succeeded) {
              expect_kept(*two);
              if (succeeded) {
                EXPECT_EQ(read_all(*one, 0, 8 * block_bytes), std::vector<std::byte>(8 * block_bytes));
              }
            });
}

TEST_F(NoMemoryTest, Snapshots_TH028) {
  fail_each([&] { return pool->create_snap(7, 0); },
            [&](bool succeeded) {
              expect_kept(*one);
              expect_kept(*two);
              if (succeeded) {
                expect_kept(*one);
              }
            });
}

TEST_F(NoMemoryTest, DeletingDevices_TH028) {
  fail_each(
      [&] {
        two.reset();
        return pool->delete_device(1);
      },
      [&](bool) { expect_kept(*one); });
}

TEST_F(NoMemoryTest, OpeningVolumes_TH028) {
  VolumeRef other;
  fail_each(
      [&]() -> Result<void> {
        two.reset();
        other = TRY(pool->open_volume(1, volume_blocks * block_bytes));
        return {};
      },
      [&](bool succeeded) {
        expect_kept(*one);
        if (!succeeded) other = volume(1, volume_blocks);
        expect_kept(*other);
        other.reset();
      });
}

TEST_F(NoMemoryTest, OpeningPools_TH026_TH028) {
  fail_each(
      [&]() -> Result<void> {
        one.reset();
        two.reset();
        pool.reset();
        pool = TRY(Pool::open(*devices->metadata, *devices->data, cache, block_sectors, options));
        return {};
      },
      [&](bool succeeded) {
        if (!succeeded) open();
        for (const DeviceId id : {0, 1}) expect_kept(*volume(id, volume_blocks));
      });
}

}  // namespace
}  // namespace karst::thin

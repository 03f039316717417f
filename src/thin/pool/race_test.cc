// Many threads on one pool: what each does must be seen by nobody whom it does not concern. Meant to run
// under the thread and address sanitizers too.
#include <atomic>
#include <cstring>
#include <thread>

#include "thin/format/errors.h"
#include "thin/pool/testing_pool.h"

namespace karst::thin {
namespace {

using namespace testing_pool;

// A sector that says whose it is.
struct Tag {
  uint64_t volume, sector, version;
};

void write_tagged(Volume& volume, uint64_t as, uint64_t sector, uint64_t count, uint64_t version) {
  std::vector<std::byte> bytes(count * sector_size);
  for (uint64_t i = 0; i < count; ++i) {
    const Tag tag{as, sector + i, version};
    std::memcpy(bytes.data() + i * sector_size, &tag, sizeof tag);
  }
  const auto written = volume.write(sector * sector_size, bytes);
  EXPECT_TRUE(written || written.error().is(err::no_space)) << written.error().message();
}

// Zeroes, or of this volume and sector. Versions, for comparing.
std::vector<uint64_t> read_tagged(Volume& volume, uint64_t as, uint64_t sector, uint64_t count) {
  std::vector<std::byte> bytes(count * sector_size);
  EXPECT_TRUE(volume.read(sector * sector_size, bytes));
  std::vector<uint64_t> versions;
  for (uint64_t i = 0; i < count; ++i) {
    Tag tag{};
    std::memcpy(&tag, bytes.data() + i * sector_size, sizeof tag);
    versions.push_back(tag.version);
    if (tag.version == 0) continue;
    EXPECT_EQ(tag.volume, as) << "another volume's data in sector " << sector + i;
    EXPECT_EQ(tag.sector, sector + i);
  }
  return versions;
}

class RaceTest : public PoolTest {
 protected:
  void run_threads(std::vector<std::function<void()>> work) {
    std::vector<std::thread> threads;
    for (auto& each : work) threads.emplace_back(std::move(each));
    for (std::thread& thread : threads) thread.join();
  }
  static constexpr uint64_t blocks = 24, sectors = blocks * block_sectors;
};

// TH-009, TH-012, TH-021, TH-029, TH-040, TH-042: provisioning, discards, commits and snapshots at once, in a
// pool that is nearly full, so that blocks change hands all the time.
TEST_F(RaceTest, BlocksThatChangeHandsShowNothingOfTheirPast) {
  options.features.error_if_no_space = true;
  make(100);
  constexpr unsigned volumes = 3, rounds = 3000;
  std::vector<VolumeRef> open;
  for (DeviceId id = 0; id < volumes; ++id) open.push_back(create(id, blocks));
  std::atomic<uint64_t> version{0};
  std::atomic<bool> stop{false};
  std::vector<std::function<void()>> work;
  for (DeviceId id = 0; id < volumes; ++id) {
    work.push_back([&, id] {
      std::mt19937_64 random(id);
      for (unsigned i = 0; i < rounds; ++i) {
        const uint64_t sector = random() % sectors,
                       count = std::min<uint64_t>(1 + random() % 64, sectors - sector);
        write_tagged(*open[id], id, sector, count, ++version);
        if (random() % 16 == 0) {
          EXPECT_TRUE(open[id]->flush());
        }
      }
    });
    work.push_back([&, id] {
      std::mt19937_64 random(id + 100);
      for (unsigned i = 0; i < rounds; ++i) {
        const uint64_t sector = random() % sectors,
                       count = std::min<uint64_t>(1 + random() % 200, sectors - sector);
        read_tagged(*open[id], id, sector, count);
        if (random() % 6 == 0) {
          EXPECT_TRUE(open[id]->discard(random() % blocks * block_bytes, block_bytes));
        }
      }
    });
  }
  work.push_back([&] {
    for (DeviceId id = 100; id < 160; ++id) {
      const DeviceId of = id % volumes;
      if (!pool->create_snap(id, of)) continue;
      auto snapshot = volume(id, blocks);
      const auto before = read_tagged(*snapshot, of, 0, sectors);
      std::this_thread::yield();
      EXPECT_EQ(read_tagged(*snapshot, of, 0, sectors), before) << "a snapshot has changed";
      snapshot.reset();
      EXPECT_TRUE(pool->delete_device(id));
    }
  });
  std::thread timer([&] {
    while (!stop) {
      clock.pass(std::chrono::seconds(2));
      pool->tick();
    }
  });
  run_threads(std::move(work));
  stop = true;
  timer.join();
  for (DeviceId id = 0; id < volumes; ++id) read_tagged(*open[id], id, 0, sectors);
  open.clear();
  for (DeviceId id = 0; id < 160; ++id) static_cast<void>(pool->delete_device(id));
  ASSERT_TRUE(pool->quiesce());
  EXPECT_EQ(used(), 0);
}

// TH-042: while the data device still discards a block nobody else gets it.
TEST_F(RaceTest, ABlockThatIsBeingDiscardedIsGivenToNobody) {
  devices = std::make_unique<Devices>(2);
  std::atomic<bool> discarding{false}, may_end{false};
  block::FaultyDevice data(*devices->data, {.before = [&](const block::IoRequest& request) {
    if (request.op != block::IoOp::discard) return;
    discarding = true;
    while (!may_end) std::this_thread::yield();
  }});
  options.features.error_if_no_space = true;
  open_on(*devices->metadata, data);
  const auto volume = create(0, 10);
  write_tagged(*volume, 0, 0, 2 * block_sectors, 1);
  ASSERT_TRUE(pool->commit());
  std::thread discarder([&] { EXPECT_TRUE(volume->discard(0, block_bytes)); });
  while (!discarding) std::this_thread::yield();
  ASSERT_TRUE(pool->commit());
  ASSERT_TRUE(pool->commit());
  // Both blocks are spoken for: one is mapped, the other is with the device.
  std::vector<std::byte> bytes(block_bytes, std::byte{1});
  EXPECT_TRUE(volume->write(5 * block_bytes, bytes).error().is(err::no_space));
  may_end = true;
  discarder.join();
  ASSERT_TRUE(pool->quiesce());
  EXPECT_TRUE(volume->write(5 * block_bytes, bytes));
  pool.reset();  // with the volume, before its devices
}

// TH-042: nor while a request that looked it up before still reads it.
TEST_F(RaceTest, ABlockThatIsStillBeingReadIsGivenToNobody) {
  devices = std::make_unique<Devices>(1);
  std::atomic<bool> hold{false}, reading{false}, may_end{false};
  block::FaultyDevice data(*devices->data, {.before = [&](const block::IoRequest& request) {
    if (request.op != block::IoOp::read || !hold.exchange(false)) return;
    reading = true;
    while (!may_end) std::this_thread::yield();
  }});
  options.features.error_if_no_space = true;
  options.features.discard_passdown = false;
  open_on(*devices->metadata, data);
  const auto volume = create(0, 10);
  write_tagged(*volume, 0, 0, block_sectors, 1);
  hold = true;
  std::thread reader([&] { read_tagged(*volume, 0, 0, block_sectors); });
  while (!reading) std::this_thread::yield();
  ASSERT_TRUE(volume->discard(0, block_bytes));
  std::thread committer([&] { EXPECT_TRUE(pool->quiesce()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(pool->metadata().space().data_available, 0);
  may_end = true;
  reader.join();
  committer.join();
  EXPECT_EQ(pool->metadata().space().data_available, 1);
  pool.reset();  // with the volume, before its devices
}

// TH-007, TH-029: a write that is under way belongs to what the snapshot has, or to what comes after, but
// never changes it.
TEST_F(RaceTest, ASnapshotWaitsForTheWritesThatAreUnderWay) {
  devices = std::make_unique<Devices>(8);
  std::atomic<bool> hold{false}, writing{false}, may_end{false};
  block::FaultyDevice data(*devices->data, {.before = [&](const block::IoRequest& request) {
    if (request.op != block::IoOp::write || !hold.exchange(false)) return;
    writing = true;
    while (!may_end) std::this_thread::yield();
  }});
  open_on(*devices->metadata, data);
  const auto origin = create(0, 10);
  write_tagged(*origin, 0, 0, 8, 1);
  hold = true;
  std::thread writer([&] { write_tagged(*origin, 0, 0, 8, 2); });
  while (!writing) std::this_thread::yield();
  std::thread snapper([&] { EXPECT_TRUE(pool->create_snap(1, 0)); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(pool->metadata().devices()->size(), 1);
  may_end = true;
  writer.join();
  snapper.join();
  EXPECT_EQ(read_tagged(*volume(1, 10), 0, 0, 8), std::vector<uint64_t>(8, 2));
  pool.reset();  // with the volume, before its devices
}

// TH-033: the seed's two threads: the time-out, and the move back to write mode.
TEST_F(RaceTest, AnOldTimeOutDoesNotOverwriteTheConfiguredChoice) {
  make(4);
  const auto full = create(0, 100);
  std::vector<std::byte> bytes(block_bytes, std::byte{1});
  for (unsigned round = 0; round < 60; ++round) {
    for (uint64_t i = 0; i < 4; ++i) ASSERT_TRUE(full->write(i * block_bytes, bytes));
    std::thread writer([&] { static_cast<void>(full->write(9 * block_bytes, bytes)); });
    while (pool->mode() != PoolMode::out_of_data_space) std::this_thread::yield();
    clock.pass(std::chrono::seconds(61));
    run_threads({[&] { pool->tick(); },
                 [&] {
                   EXPECT_TRUE(full->discard(0, 4 * block_bytes));
                   EXPECT_TRUE(pool->quiesce());
                 }});
    writer.join();
    EXPECT_EQ(pool->mode(), PoolMode::write);
    EXPECT_FALSE(pool->status().error_if_no_space);
    ASSERT_TRUE(full->discard(0, 100 * block_bytes));
    ASSERT_TRUE(pool->quiesce());
  }
}

// TH-018, TH-019, TH-020, TH-025, TH-027: handles come and go, with requests and commits under way; the last
// one ends the pool, and what was flushed is there.
TEST_F(RaceTest, TheLastHandleClosesThePool) {
  make(64);
  for (DeviceId id = 0; id < 4; ++id) ASSERT_TRUE(pool->create_thin(id));
  std::vector<std::function<void()>> work;
  for (DeviceId id = 0; id < 4; ++id)
    work.push_back([id, mine = pool] {
      for (unsigned i = 0; i < 50; ++i) {
        auto first = mine->open_volume(id, blocks * block_bytes).value();
        auto second = mine->open_volume(id, blocks * block_bytes).value();
        EXPECT_EQ(first, second);
        EXPECT_FALSE(mine->open_volume(id, block_bytes));
        first.reset();
        write_tagged(*second, id, i * 8, 8, i + 1);
        EXPECT_TRUE(second->flush());
      }
    });
  pool.reset();
  run_threads(std::move(work));
  work.clear();
  open();
  for (DeviceId id = 0; id < 4; ++id) EXPECT_EQ(read_tagged(*volume(id, blocks), id, 49 * 8, 1)[0], 50);
}

// TH-020: more handles of a pool, or of a volume, than can be counted leave it open for good; it is not
// closed under anybody.
TEST_F(RaceTest, HandlesThatCannotBeCountedKeepWhatTheyAreOf_TH020) {
  make(8);
  const auto volume = create(0, 10);
  const auto overflow = [](RefCount& count) {
    std::construct_at(&count, RefCount::saturated - 10);  // as if so many had been taken
    for (unsigned i = 0; i < 20; ++i) count.acquire();
    const uint32_t full = count.value();
    for (unsigned i = 0; i < 100; ++i) EXPECT_FALSE(count.release());
    EXPECT_EQ(count.value(), full);
  };
  overflow(volume->ref_count());
  overflow(pool->ref_count());
  {
    auto second = this->volume(0, 10);
    EXPECT_EQ(second, volume);
  }
  write_tagged(*volume, 0, 0, 8, 1);
  EXPECT_EQ(read_tagged(*volume, 0, 0, 8), std::vector<uint64_t>(8, 1));
  Volume* const leaked = volume.get();
  Pool* const open = pool.get();
  const_cast<VolumeRef&>(volume).reset();
  pool.reset();
  write_tagged(*leaked, 0, 0, 8, 2);
  EXPECT_EQ(open->mode(), PoolMode::write);
  EXPECT_EQ(open->volume_in_use(0).get(), leaked);
  // Nobody else ends what has leaked: the devices of the test would be gone before it.
  delete leaked;
  delete open;
}

#ifdef KARST_DEBUG
// TH-029: holding a volume still without the lock that makes its holder the only one is reported.
TEST_F(RaceTest, HoldingStillNeedsTheLockForCommands_TH029) {
  make(8);
  const auto held = create(0, 10);
  EXPECT_DEATH(Volume::Standstill{held.get()}, "thin.pool-commands");
}
#endif

// TH-021, TH-043, TH-044, TH-055: the metadata fails at the n-th write, whatever is going on; every thread
// gets its answer, reads go on, and the device holds a pool.
TEST_F(RaceTest, EveryFailureOfTheMetadataIsAnswered) {
  for (uint64_t nth = 1; nth < 60; nth += 3) {
    devices = std::make_unique<Devices>(64);
    block::FaultyDevice metadata(*devices->metadata, {});
    open_on(metadata, *devices->data);
    const auto one = create(0, blocks), two = create(1, blocks);
    write_tagged(*one, 0, 0, 8, 1);
    ASSERT_TRUE(one->flush());
    metadata.set_faults({{.kind = block::Fault::Kind::error, .op = block::IoOp::write, .nth = nth}});
    const auto busy = [&](Volume& volume, uint64_t seed) {
      std::mt19937_64 random(seed);
      std::vector<std::byte> bytes(4096, std::byte{1});
      for (unsigned i = 0; i < 40; ++i) {
        static_cast<void>(volume.write((1 + random() % (blocks - 1)) * block_bytes, bytes));
        if (random() % 4 == 0)
          static_cast<void>(volume.discard((1 + random() % (blocks - 1)) * block_bytes, block_bytes));
        if (random() % 4 == 0) static_cast<void>(volume.flush());
        std::vector<std::byte> found(512);
        const auto read = volume.read(0, found);
        EXPECT_TRUE(read) << read.error().message();
      }
    };
    run_threads({[&] { busy(*one, nth); }, [&] { busy(*two, nth + 1); },
                 [&] {
                   for (DeviceId id = 10; id < 14; ++id) static_cast<void>(pool->create_snap(id, 0));
                 }});
    EXPECT_EQ(metadata.faults_met() > 0, pool->mode() == PoolMode::read_only) << nth;
    EXPECT_EQ(read_tagged(*one, 0, 0, 8), std::vector<uint64_t>(8, 1));
    pool.reset();
    // The volumes keep it open until here.
  }
}

}  // namespace
}  // namespace karst::thin

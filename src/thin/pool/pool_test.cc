// Modes, events, messages and what a pool does when its devices fail.
#include "thin/pool/pool.h"

#include <thread>

#include "thin/format/errors.h"
#include "thin/pool/message.h"
#include "thin/pool/status.h"
#include "thin/pool/testing_pool.h"

namespace karst::thin {
namespace {

using namespace testing_pool;
using std::chrono::seconds;

class PoolStateTest : public PoolTest {
 protected:
  std::string line() { return pool_status_line(pool->status()); }
  Error refused(std::string_view message) {
    auto answer = send_message(*pool, message);
    EXPECT_FALSE(answer) << message;
    return answer ? Error(err::invalid, "not refused") : std::move(answer).error();
  }
  std::vector<std::byte> block = pattern(1, block_bytes);
};

// TH-001, TH-037: 2 MiB of metadata and 64 MiB of data, as the kernel shows them.
TEST_F(PoolStateTest, AFreshPoolHasTheKernelsStatusLine) {
  make(1024, 2 << 20);
  EXPECT_EQ(line(), "thin-pool 0 60/512 0/1024 - rw discard_passdown queue_if_no_space - 128 ");
}

// TH-003: words and numbers of a 6.12 kernel.
TEST_F(PoolStateTest, MessagesAreAnsweredAsTheKernelDoes) {
  make(1024, 2 << 20);
  ASSERT_TRUE(send_message(*pool, "create_thin 0"));
  ASSERT_TRUE(send_message(*pool, "create_thin 16777215"));
  ASSERT_TRUE(send_message(*pool, "create_thin 007"));
  ASSERT_TRUE(send_message(*pool, "CREATE_THIN 1"));
  struct Case {
    const char* message;
    int errno_value;
    const char* words;
  };
  const Case cases[] = {
      {"create_thin 0", EEXIST, "Creation of new thinly-provisioned device with id 0 failed."},
      {"create_thin 16777216", EINVAL, "Message received with invalid device id: 16777216"},
      {"create_thin -1", EINVAL, "Message received with invalid device id: -1"},
      {"create_thin 0x10", EINVAL, "Message received with invalid device id: 0x10"},
      {"create_thin", EINVAL, "Message received with 1 arguments instead of 2."},
      {"create_thin 1 2", EINVAL, "Message received with 3 arguments instead of 2."},
      {"create_snap 1 0", EEXIST, "Creation of new snapshot 1 of device 0 failed."},
      {"create_snap 2 9", ENODATA, "Creation of new snapshot 2 of device 9 failed."},
      {"create_snap 3", EINVAL, "Message received with 2 arguments instead of 3."},
      {"delete 9", ENODATA, "Deletion of thin device 9 failed."},
      {"set_transaction_id 1 2", EINVAL, "mismatched transaction id"},
      {"set_transaction_id 7", EINVAL, "Message received with 2 arguments instead of 3."},
      {"release_metadata_snap", EINVAL, "No pool metadata snapshot found: nothing to release."},
      {"trim 0 1", EINVAL, "Unrecognised thin pool target message received: trim"},
      {"", EINVAL, "Empty message received."},
  };
  for (const Case& c : cases) {
    const Error error = refused(c.message);
    EXPECT_EQ(error.errno_value(), c.errno_value) << c.message;
    EXPECT_NE(error.message().find(c.words), std::string::npos) << error.message();
  }
  ASSERT_TRUE(send_message(*pool, "set_transaction_id 0 7"));
  ASSERT_TRUE(send_message(*pool, "reserve_metadata_snap"));
  EXPECT_EQ(refused("reserve_metadata_snap").errno_value(), EBUSY);
  ASSERT_TRUE(send_message(*pool, "release_metadata_snap"));
  const auto in_use = volume(0, 10);
  EXPECT_EQ(refused("delete 0").errno_value(), EBUSY);
  ASSERT_TRUE(send_message(*pool, "create_snap 20 0"));
}

// TH-004: what a message says, an empty text too, is told from its having nothing to say.
TEST_F(PoolStateTest, AnAnswerIsToldFromNone_TH004) {
  make(8);
  static constexpr Message talking[] = {
      {"say",
       [](Pool&, const MessageWords& words) -> Result<MessageAnswer> {
         return MessageAnswer(words.size() > 1 ? std::string(words[1]) : std::string());
       }},
      {"nod", [](Pool&, const MessageWords&) -> Result<MessageAnswer> { return MessageAnswer(); }}};
  EXPECT_EQ(send_message(*pool, "say yes", talking).value(), "yes");
  EXPECT_EQ(send_message(*pool, "say", talking).value(), "");
  EXPECT_EQ(send_message(*pool, "nod", talking).value(), std::nullopt);
  for (const Message& message : pool_messages()) EXPECT_NE(message.word, "say");
  EXPECT_EQ(send_message(*pool, "create_thin 0").value(), std::nullopt);
}

// TH-031, TH-039: queued until the pool has grown.
TEST_F(PoolStateTest, WritesWithoutSpaceWaitForGrowth) {
  make(16, 2 << 20);
  const auto full = create(0, 100);
  for (uint64_t i = 0; i < 16; ++i) ASSERT_TRUE(full->write(i * block_bytes, block));
  EXPECT_EQ(pool->mode(), PoolMode::write);
  std::thread writer([&] { EXPECT_TRUE(full->write(16 * block_bytes, block)); });
  while (pool->mode() != PoolMode::out_of_data_space) std::this_thread::yield();
  EXPECT_EQ(line(), "thin-pool 0 61/512 16/16 - out_of_data_space discard_passdown queue_if_no_space - 128 ");
  // What is mapped goes on, and commands.
  EXPECT_TRUE(full->write(0, block));
  EXPECT_TRUE(send_message(*pool, "create_thin 1"));
  ASSERT_TRUE(full->discard(0, block_bytes));
  ASSERT_TRUE(pool->quiesce());
  writer.join();
  EXPECT_EQ(pool->mode(), PoolMode::write);
}

// TH-031
TEST_F(PoolStateTest, WritesWithoutSpaceFailIfSoConfigured) {
  options.features.error_if_no_space = true;
  make(16);
  const auto full = create(0, 100);
  for (uint64_t i = 0; i < 16; ++i) ASSERT_TRUE(full->write(i * block_bytes, block));
  EXPECT_TRUE(full->write(16 * block_bytes, block).error().is(err::no_space));
  EXPECT_EQ(pool->mode(), PoolMode::out_of_data_space);
  // Nothing is lost by that, FUA or not.
  EXPECT_TRUE(full->write(16 * block_bytes, block, block::IoFlags::fua).error().is(err::no_space));
  EXPECT_TRUE(full->flush());
}

// TH-032, TH-033: the time-out makes errors of the waiting, and ends with the lack of space.
TEST_F(PoolStateTest, WaitingForSpaceTimesOut) {
  make(16);
  const auto full = create(0, 100);
  for (uint64_t i = 0; i < 16; ++i) ASSERT_TRUE(full->write(i * block_bytes, block));
  std::thread writer([&] { EXPECT_TRUE(full->write(16 * block_bytes, block).error().is(err::no_space)); });
  while (pool->mode() != PoolMode::out_of_data_space) std::this_thread::yield();
  clock.pass(seconds(59));
  pool->tick();
  EXPECT_FALSE(pool->status().error_if_no_space);
  clock.pass(seconds(1));
  pool->tick();
  writer.join();
  EXPECT_TRUE(pool->status().error_if_no_space);
  EXPECT_EQ(pool->mode(), PoolMode::out_of_data_space);
  ASSERT_TRUE(full->discard(0, block_bytes));
  ASSERT_TRUE(pool->quiesce());
  EXPECT_EQ(pool->mode(), PoolMode::write);
  EXPECT_FALSE(pool->status().error_if_no_space);
  // An old time-out does not come back.
  clock.pass(seconds(1000));
  pool->tick();
  EXPECT_FALSE(pool->status().error_if_no_space);
}

// The kernel's example: the event comes with the allocation that finds the mark reached, and once.
TEST_F(PoolStateTest, TheLowWaterEventComesOnce) {
  options.low_water_blocks = 200;
  make(256);
  const auto volume = create(0, 256);
  const uint64_t before = pool->events();
  for (uint64_t i = 0; i < 56; ++i) ASSERT_TRUE(volume->write(i * block_bytes, block));
  EXPECT_EQ(pool->events(), before);
  ASSERT_TRUE(volume->write(56 * block_bytes, block));
  EXPECT_EQ(pool->events(), before + 1);
  ASSERT_TRUE(volume->write(57 * block_bytes, block));
  ASSERT_TRUE(volume->discard(0, 57 * block_bytes));
  ASSERT_TRUE(pool->quiesce());
  for (uint64_t i = 0; i < 57; ++i) ASSERT_TRUE(volume->write(i * block_bytes, block));
  EXPECT_EQ(pool->events(), before + 1);
}

// TH-041
TEST_F(PoolStateTest, WhoIsToldOfAnEventFindsTheStateThere) {
  options.features.error_if_no_space = true;
  make(4);
  const auto volume = create(0, 100);
  std::vector<PoolMode> seen;
  pool->on_event([&] { seen.push_back(pool->mode()); });
  for (uint64_t i = 0; i < 5; ++i) static_cast<void>(volume->write(i * block_bytes, block));
  EXPECT_EQ(seen, (std::vector{PoolMode::write, PoolMode::out_of_data_space}));
}

// TH-034, TH-035, TH-036: metadata that runs full is committed whole, and the pool reads on; growing helps.
TEST_F(PoolStateTest, FullMetadataLosesNothing) {
  options.features.zero_new_blocks = false;
  make(30000, 512 << 10);
  const auto volume = create(0, 1 << 20);
  uint64_t written = 0;
  // Far apart, so that leaves fill the metadata.
  const auto place = [](uint64_t i) { return i * 37 % 29989 * 33; };
  std::vector<std::byte> sector(512, std::byte{7});
  while (written < 29989 && volume->write(place(written) * block_bytes, sector)) ++written;
  EXPECT_EQ(pool->mode(), PoolMode::out_of_metadata_space);
  EXPECT_LT(pool->status().space.metadata_available, 8);
  EXPECT_FALSE(pool->status().needs_check);
  EXPECT_NE(line().find(" ro "), std::string::npos);
  EXPECT_GT(written, 5000);
  EXPECT_EQ(refused("create_thin 1").errno_value(), EOPNOTSUPP);
  EXPECT_EQ(pool->status(volume->id())->details.mapped_blocks, written);
  EXPECT_EQ(read_all(*volume, place(written - 1) * block_bytes, 512), sector);
}

// TH-037, TH-038: the mark for the metadata is in the status, and each crossing of it is one event; whoever
// hears of it needs no second one.
TEST_F(PoolStateTest, TheMetadataLowWaterEventComesOnceForEachCrossing_TH038) {
  options.features.zero_new_blocks = false;
  make(30000, 768 << 10);
  const auto volume = create(0, 1 << 20);
  const uint64_t mark = pool->status().metadata_low_water;
  EXPECT_EQ(mark, 48u);  // a quarter of it
  ASSERT_TRUE(volume->flush());
  const uint64_t before = pool->events();
  std::vector<std::byte> sector(512, std::byte{7});
  uint64_t written = 0;
  const auto write_until = [&](auto&& enough) {
    while (written < 29989 && !enough()) {
      ASSERT_TRUE(volume->write(written * 37 % 29989 * 33 * block_bytes, sector));
      if (++written % 16 == 0) {
        ASSERT_TRUE(volume->flush());
      }
    }
  };
  write_until([&] { return pool->status().space.metadata_available < mark; });
  ASSERT_TRUE(volume->flush());
  EXPECT_EQ(pool->events(), before + 1);
  // A subscriber decides by the status alone.
  EXPECT_LT(pool->status().space.metadata_available, pool->status().metadata_low_water);
  const uint64_t now = written;
  write_until([&] { return written == now + 200; });
  EXPECT_EQ(pool->events(), before + 1);
  // Room again, and the mark crossed again.
  ASSERT_TRUE(volume->discard(0, uint64_t{1 << 20} * block_bytes));
  ASSERT_TRUE(pool->quiesce());
  written = 0;
  EXPECT_GE(pool->status().space.metadata_available, mark);
  EXPECT_EQ(pool->events(), before + 1);
  write_until([&] { return pool->status().space.metadata_available < mark; });
  ASSERT_TRUE(volume->flush());
  EXPECT_EQ(pool->events(), before + 2);
}

// TH-058: the limit of the metadata's cache may change at any time, and is kept from then on, with requests
// under way.
TEST_F(PoolStateTest, TheCachesLimitMayChangeAtAnyTime_TH058) {
  options.features.zero_new_blocks = false;
  make(20000, 4 << 20);
  const auto volume = create(0, 20000);
  std::vector<std::byte> sector(512, std::byte{7});
  for (uint64_t i = 0; i < 20000; ++i) ASSERT_TRUE(volume->write(i * block_bytes, sector));
  ASSERT_TRUE(volume->flush());
  ASSERT_TRUE(pool->quiesce());
  std::atomic<bool> ended{false};
  std::thread reader([&] {
    std::vector<std::byte> into(512);
    for (uint64_t i = 0; !ended; i = (i + 7919) % 20000) EXPECT_TRUE(volume->read(i * block_bytes, into));
  });
  for (const size_t limit : {size_t{256} << 10, size_t{16} << 20, size_t{512} << 10}) {
    cache.set_limit(limit);
    for (uint64_t i = 0; i < 2000; ++i) {
      ASSERT_TRUE(pool->metadata().walk(*pool->metadata().open_device(0).value(), VirtualBlock{i * 10},
                                        VirtualBlock{i * 10 + 1},
                                        [](VirtualBlock, Mapping) { return true; }));
      // What is pinned at the moment may be beyond it.
      if (i > 100) {
        EXPECT_LE(cache.statistics().bytes, limit + (256 << 10));
      }
    }
  }
  ended = true;
  reader.join();
}

// TH-039: blocks whose discards are still under way are counted by nobody: who finds none waits or fails for
// lack of space, and in no other way; and once all is quiet, the pool writes again.
TEST_F(PoolStateTest, FillingWhileDiscardsEndLacksSpaceAndNothingElse_TH039) {
  options.features.error_if_no_space = true;
  make(12);
  std::vector<VolumeRef> volumes;
  for (DeviceId id = 0; id < 3; ++id) volumes.push_back(create(id, 12));
  std::vector<std::thread> threads;
  for (const auto& volume : volumes)
    threads.emplace_back([&, volume] {
      for (unsigned round = 0; round < 60; ++round) {
        for (uint64_t i = 0; i < 6; ++i) {
          const auto written = volume->write(i * block_bytes, block);
          if (!written) {
            EXPECT_TRUE(written.error().is(err::no_space)) << written.error().message();
          }
        }
        EXPECT_TRUE(volume->discard(0, 12 * block_bytes));
      }
    });
  for (auto& thread : threads) thread.join();
  ASSERT_TRUE(pool->quiesce());
  EXPECT_EQ(pool->mode(), PoolMode::write);
  EXPECT_FALSE(pool->status().needs_check);
  EXPECT_EQ(used(), 0u);
  for (const auto& volume : volumes) EXPECT_TRUE(volume->write(0, block));
}

// TH-021, TH-035, TH-055: a write error of the metadata ends changes, not reads, and clients see an I/O
// error.
TEST_F(PoolStateTest, AFailedCommitMakesThePoolReadOnly) {
  devices = std::make_unique<Devices>(1024, 2 << 20);
  block::FaultyDevice metadata(*devices->metadata, {});
  open_on(metadata, *devices->data);
  auto volume = create(0, 100);
  ASSERT_TRUE(volume->write(0, block));
  ASSERT_TRUE(volume->flush());
  metadata.set_faults({{.kind = block::Fault::Kind::error, .op = block::IoOp::write}});
  ASSERT_TRUE(volume->write(block_bytes, block));
  auto flushed = volume->flush();
  ASSERT_FALSE(flushed);
  EXPECT_TRUE(flushed.error().is(err::io));
  EXPECT_NE(line().find(" ro discard_passdown queue_if_no_space needs_check"), std::string::npos) << line();
  EXPECT_EQ(refused("create_thin 1").errno_value(), EOPNOTSUPP);
  EXPECT_EQ(read_all(*volume, 0, block_bytes), block);
  EXPECT_TRUE(volume->write(0, block));
  EXPECT_TRUE(volume->write(9 * block_bytes, block).error().is(err::io));
  EXPECT_TRUE(volume->discard(0, block_bytes));
  // What was lost is not answered for.
  EXPECT_FALSE(volume->flush());
  volume.reset();
  pool.reset();
  // Until it was checked it is not written again.
  open();
  EXPECT_EQ(pool->mode(), PoolMode::read_only);
  EXPECT_EQ(read_all(*this->volume(0, 100), 0, block_bytes), block);
}

// Metadata that cannot be read back after a failure: nothing more is possible.
TEST_F(PoolStateTest, MetadataThatCannotBeReadBackFailsThePool) {
  devices = std::make_unique<Devices>(1024, 2 << 20);
  block::FaultyDevice metadata(*devices->metadata, {});
  open_on(metadata, *devices->data);
  const auto volume = create(0, 100);
  ASSERT_TRUE(volume->write(0, block));
  metadata.set_faults({{.kind = block::Fault::Kind::error, .times = block::Fault::forever}});
  EXPECT_FALSE(volume->flush());
  EXPECT_EQ(line(), "thin-pool Fail");
  EXPECT_EQ(volume_status_line(*pool, pool->status(volume->id())), "thin Fail");
  EXPECT_FALSE(volume->read(0, block));
  pool.reset();  // with the volume, before its devices
}

// TH-003, TH-007: as many snapshots as one likes, each of the one before; a lookup goes through one tree all
// the same.
TEST_F(PoolStateTest, TenThousandSnapshotsOfSnapshots) {
  make(64, 64 << 20);
  auto first = create(0, 16);
  ASSERT_TRUE(first->write(0, block));
  for (DeviceId id = 1; id <= 10000; ++id) ASSERT_TRUE(pool->create_snap(id, id - 1));
  EXPECT_EQ(pool->metadata().devices()->size(), 10001);
  const auto last = volume(10000, 16);
  EXPECT_EQ(read_all(*last, 0, block_bytes), block);
  ASSERT_TRUE(last->write(0, pattern(9, 512)));
  EXPECT_EQ(read_all(*volume(5000, 16), 0, block_bytes), block);
  EXPECT_EQ(used(), 2);
  for (DeviceId id = 1; id < 9000; ++id) ASSERT_TRUE(pool->delete_device(id));
  EXPECT_EQ(read_all(*first, 0, block_bytes), block);
}

// TH-022: a pool keeps its block size, and devices that hold what it has.
TEST_F(PoolStateTest, AnotherBlockSizeAndSmallerDevicesAreRefused) {
  make(1024, 2 << 20);
  ASSERT_TRUE(pool->commit());
  pool.reset();
  auto other = Pool::open(*devices->metadata, *devices->data, cache, 256, options);
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().what(), "changing the data block size (from 128 to 256) is not supported");
  const auto smaller = block::MemoryDevice::create(512 * block_bytes, 512, "smaller").value();
  auto small = Pool::open(*devices->metadata, *smaller, cache, block_sectors, options);
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().what(), "pool target (512 blocks) too small: expected 1024");
}

// TH-036 and the kernel's growing.
TEST_F(PoolStateTest, LargerDevicesGrowThePool) {
  make(1024, 2 << 20);
  ASSERT_TRUE(pool->commit());
  pool.reset();
  Devices larger(2048, 4 << 20);
  std::vector<std::byte> copied(2 << 20);
  ASSERT_TRUE(devices->metadata->read(0, copied) && larger.metadata->write(0, copied));
  open_on(*larger.metadata, *larger.data);
  EXPECT_EQ(line(), "thin-pool 0 111/1024 0/2048 - rw discard_passdown queue_if_no_space - 256 ");
  pool.reset();
}

}  // namespace
}  // namespace karst::thin

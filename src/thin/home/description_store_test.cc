// What is written of a pool's volumes is there after a crash, whatever was being written.
#include "thin/home/description_store.h"

#include <gtest/gtest.h>

#include <random>

#include "block/faulty_device.h"
#include "block/memory_device.h"
#include "block/recording_device.h"
#include "thin/format/errors.h"

namespace karst::thin {
namespace {

using Durable = DescriptionStore::Durable;
using State = VolumeEntry::State;

PoolDescription empty_pool() {
  PoolDescription pool;
  pool.uuid = Uuid::random();
  pool.block_sectors = data_block_sectors_min;
  pool.data_size = 1 << 30;
  return pool;
}

std::unique_ptr<block::MemoryDevice> memory() {
  return block::MemoryDevice::create(DescriptionStore::size, 512).value();
}

VolumeEntry volume(DeviceId id, std::string name) {
  return {.id = id, .name = std::move(name), .size = 1 << 20};
}

PoolDescription reopened(block::Device& device) {
  auto store = DescriptionStore::open(device);
  EXPECT_TRUE(store) << store.error().message();
  return store ? store->description() : PoolDescription();
}

TEST(VolumeTable, NamesAndIdsAreOneVolumesEach) {
  VolumeTable table;
  EXPECT_EQ(table.free_id(), 0u);
  EXPECT_TRUE(table.put(volume(0, "a")));
  EXPECT_TRUE(table.put(volume(2, "b")));
  EXPECT_FALSE(table.put(volume(1, "b")));
  EXPECT_EQ(table.at(1), nullptr);
  EXPECT_EQ(table.free_id(), 1u);
  EXPECT_TRUE(table.put(volume(2, "c")));  // another name
  EXPECT_EQ(table.find("b"), nullptr);
  EXPECT_EQ(table.find("c")->id, 2u);
  EXPECT_EQ(table.find("2")->name, "c");
  EXPECT_FALSE(table.put(volume(2, "a")));
  EXPECT_EQ(table.find("2")->name, "c");
  EXPECT_TRUE(table.put(volume(1, "b")));
  EXPECT_EQ(table.free_id(), 3u);
  table.remove(0);
  EXPECT_EQ(table.free_id(), 0u);
  EXPECT_FALSE(table.has_name("a"));
  VolumeEntry hidden = volume(7, "hidden");
  hidden.state = State::importing;
  EXPECT_TRUE(table.put(hidden));
  EXPECT_EQ(table.find("hidden"), nullptr);
  EXPECT_TRUE(table.has_name("hidden"));
  EXPECT_EQ(table.size(), 3u);
}

// Random changes; the state after each, as it must be found again.
class Workload {
 public:
  explicit Workload(uint64_t seed) : random_(seed) {}

  Result<void> change(DescriptionStore& store, Durable durable = Durable::now) {
    const auto id = static_cast<DeviceId>(random_() % 20);
    if (random_() % 16 == 0) {
      PoolDescription grown = store.description();
      grown.data_size += 1 << 20;
      return store.save(std::move(grown));
    }
    if (random_() % 3 == 0) return store.remove(id, durable);
    VolumeEntry entry = volume(id, fmt::format("{}-{}", id, random_() % 4));
    entry.origin = std::string(random_() % 1200, 'o');
    return store.put(std::move(entry), durable);
  }

 private:
  std::mt19937_64 random_;
};

TEST(DescriptionStore, ChangesAreThereWhenItIsOpenedAgain) {
  const auto device = memory();
  Workload workload(1);
  auto store = DescriptionStore::create(*device, empty_pool()).value();
  // More than a journal holds, several times.
  for (unsigned i = 0; i < 20000; ++i) {
    ASSERT_TRUE(workload.change(store));
    if (i % 1000 == 7) {
      EXPECT_EQ(reopened(*device), store.description()) << i;
    }
  }
  auto again = DescriptionStore::open(*device).value();
  EXPECT_EQ(again.description(), store.description());
  ASSERT_TRUE(again.put(volume(99, "after")));
  EXPECT_NE(reopened(*device).volumes.find("after"), nullptr);
}

TEST(DescriptionStore, AJournalThatIsFullGoesIntoACopy) {
  const auto device = memory();
  auto store = DescriptionStore::create(*device, empty_pool()).value();
  VolumeEntry one = volume(3, "one");
  for (unsigned i = 0; i < 20000; ++i) {
    one.size = (i + 1) * 512;
    ASSERT_TRUE(store.put(one));
  }
  EXPECT_EQ(reopened(*device), store.description());
  for (DeviceId id = 100; id < 20100; ++id) ASSERT_TRUE(store.put(volume(id, fmt::format("volume-{}", id))));
  for (DeviceId id = 100; id < 20100; ++id) ASSERT_TRUE(store.remove(id));
  EXPECT_EQ(reopened(*device), store.description());
  EXPECT_EQ(store.description().volumes.size(), 1u);
}

// TH-022's kind of mistake: one pool's file made anew over another's.
TEST(DescriptionStore, AnEarlierPoolsChangesAreNotTheNewOnes) {
  const auto device = memory();
  Workload workload(2);
  {
    auto old = DescriptionStore::create(*device, empty_pool()).value();
    for (unsigned i = 0; i < 200; ++i) ASSERT_TRUE(workload.change(old));
  }
  const auto fresh = DescriptionStore::create(*device, empty_pool()).value();
  EXPECT_TRUE(reopened(*device).volumes.empty());
  EXPECT_EQ(reopened(*device), fresh.description());
}

// Every byte of both copies and of a record, one after the other: nothing that was whole is lost, the other
// copy and the journal say all of it. What is changed then is there whether the damage comes back or not.
TEST(DescriptionStore, WhatIsDamagedIsToldOrPassedOver) {
  const auto device = memory();
  auto store = DescriptionStore::create(*device, empty_pool()).value();
  ASSERT_TRUE(store.put(volume(1, "kept")));
  ASSERT_TRUE(store.put(volume(2, "last")));
  std::vector<std::byte> sector(512);
  for (const uint64_t at :
       {uint64_t{0}, uint64_t{4096}, DescriptionStore::copy_size, DescriptionStore::copy_size + 4096}) {
    ASSERT_TRUE(device->read(at, sector));
    const auto good = sector;
    for (size_t i = 0; i < (at % 4096 == 0 && at / 4096 % 2 == 0 ? 48 : 160); ++i) {
      sector = good;
      sector[i] ^= std::byte{1};
      ASSERT_TRUE(device->write(at, sector));
      const auto opened = DescriptionStore::open(*device);
      const bool version = i >= 16 && i < 20 && at % DescriptionStore::copy_size == 0;
      if (version) {
        EXPECT_TRUE(opened.error().is(err::unsupported));
        continue;
      }
      ASSERT_TRUE(opened) << opened.error().message();
      EXPECT_TRUE(opened->found_damage());
      EXPECT_EQ(opened->description(), store.description()) << at << " " << i;
    }
    // Changed while one is damaged, and the damage gone again afterwards.
    {
      auto damaged = sector;
      damaged[0] ^= std::byte{1};
      ASSERT_TRUE(device->write(at, damaged));
      auto opened = DescriptionStore::open(*device).value();
      ASSERT_TRUE(opened.put(volume(3, fmt::format("at-{}", at))));
      EXPECT_FALSE(opened.found_damage());
      EXPECT_EQ(reopened(*device), opened.description());
      store = DescriptionStore::open(*device).value();
    }
  }
  const uint64_t last_record = DescriptionStore::journal_at;
  ASSERT_TRUE(store.put(volume(2, "renamed")));
  ASSERT_TRUE(device->read(last_record, sector));
  const auto good = sector;
  for (size_t i = 0; i < 150; ++i) {  // its bytes, and not what fills the sector
    sector = good;
    sector[i] ^= std::byte{1};
    ASSERT_TRUE(device->write(last_record, sector));
    const PoolDescription found = reopened(*device);
    EXPECT_TRUE(found.volumes.at(2)->name == "last") << i;
    EXPECT_EQ(*found.volumes.find("kept"), volume(1, "kept"));
  }
}

// What the device does not answer is no damage: nothing is made of the half of it.
TEST(DescriptionStore, WhatCannotBeReadIsNotPassedOver) {
  const auto base = memory();
  ASSERT_TRUE(DescriptionStore::create(*base, empty_pool()).value().put(volume(1, "one")));
  for (uint64_t nth = 1;; ++nth) {
    block::FaultyDevice device(*base, {.faults = {{.op = block::IoOp::read, .nth = nth}}});
    const auto opened = DescriptionStore::open(device);
    if (device.faults_met() == 0) break;
    ASSERT_FALSE(opened);
    EXPECT_TRUE(opened.error().is(err::io));
  }
}

// An earlier state's records are of another epoch, wherever copies have got to.
TEST(DescriptionStore, RecordsOfAnEarlierStateDoNotComeBack) {
  const auto base = memory();
  block::FaultyDevice device(*base, {});
  auto store = DescriptionStore::create(device, empty_pool()).value();
  for (DeviceId id = 0; id < 10; ++id) ASSERT_TRUE(store.put(volume(id, fmt::format("old-{}", id))));
  for (DeviceId id = 0; id < 10; ++id) ASSERT_TRUE(store.remove(id));
  for (unsigned round = 0; round < 4; ++round) {
    // The second copy of the state fails; the journal is not gone on with.
    PoolDescription grown = store.description();
    grown.data_size += 1 << 20;
    device.set_faults({{.op = block::IoOp::write, .nth = 2, .error_kind = &err::no_space}});
    ASSERT_TRUE(store.save(grown));
    device.set_faults({});
    EXPECT_EQ(reopened(*base), store.description());
    ASSERT_TRUE(store.put(volume(20 + round, fmt::format("new-{}", round))));
    EXPECT_EQ(reopened(*base), store.description());
    store = DescriptionStore::open(device).value();
  }
  EXPECT_EQ(store.description().volumes.size(), 4u);
}

TEST(DescriptionStore, WhatCouldNotBeReadAgainIsNotWritten) {
  const auto device = memory();
  auto store = DescriptionStore::create(*device, empty_pool()).value();
  EXPECT_TRUE(store.put(volume(max_device_id + 1, "a")).error().is(err::invalid));
  EXPECT_TRUE(store.put(volume(1, "no name")).error().is(err::invalid));
  ASSERT_TRUE(store.put(volume(max_device_id, "a")));
  EXPECT_EQ(reopened(*device), store.description());
}

// A pool that has no room for more volumes can lose some, and change those it has.
TEST(DescriptionStore, AFullOneCanBeEmptied) {
  const auto device = memory();
  const auto large = [](DeviceId id) {
    VolumeEntry entry = volume(id, fmt::format("{}-{}", std::string(200, 'n'), id));
    entry.origin = std::string(30000, 'o');
    return entry;
  };
  PoolDescription pool = empty_pool();
  DeviceId id = 0;
  while (id < 1750) pool.volumes.put(large(id++));
  auto store = DescriptionStore::create(*device, std::move(pool)).value();
  Result<void> put;
  while (put && id < 2500) put = store.put(large(id++));
  ASSERT_FALSE(put);
  EXPECT_TRUE(put.error().is(err::limit)) << put.error().message();
  for (DeviceId each = 0; each < 150; ++each) {  // more than a journal holds
    VolumeEntry changed = *store.description().volumes.at(each);
    changed.state = State::importing;
    ASSERT_TRUE(store.put(std::move(changed)));
    ASSERT_TRUE(store.remove(each));
  }
  ASSERT_TRUE(store.put(volume(5, "again")));
  EXPECT_EQ(reopened(*device), store.description());
}

// A change that was refused, though its record got there, is not found by whoever opens the pool next.
TEST(DescriptionStore, AFlushThatFailsTakesItsRecordBack) {
  const auto base = memory();
  block::FaultyDevice device(*base, {});
  auto store = DescriptionStore::create(device, empty_pool()).value();
  ASSERT_TRUE(store.put(volume(1, "kept")));
  device.set_faults({{.op = block::IoOp::flush}});
  VolumeEntry deleting = volume(1, "kept");
  deleting.state = State::deleting;
  EXPECT_FALSE(store.put(deleting));
  EXPECT_EQ(reopened(*base), store.description());
  EXPECT_EQ(store.description().volumes.at(1)->state, State::ready);
}

// After a crash: some state between the last that was durable and the last that was asked for, and changes
// made then are there after the next.
TEST(DescriptionStore, ACrashLeavesAStateThatWas) {
  uint64_t states = 0;
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    const auto base = memory();
    ASSERT_TRUE(DescriptionStore::create(*base, empty_pool()));
    block::OverlayDevice below(*base);
    block::WriteLog log;
    block::RecordingDevice device(below, log);
    Workload workload(seed);
    std::mt19937_64 random(seed);
    auto store = DescriptionStore::open(device).value();
    // States by their number; at each mark, the last durable one.
    std::vector<PoolDescription> history = {store.description()};
    std::vector<size_t> durable = {0};
    for (unsigned i = 0; i < 40; ++i) {
      const Durable wanted = random() % 2 == 0 ? Durable::now : Durable::with_the_next;
      const uint64_t before = log.entries().size();
      ASSERT_TRUE(workload.change(store, wanted));
      history.push_back(store.description());
      bool flushed = false;
      for (size_t entry = before; entry < log.entries().size(); ++entry)
        flushed |= log.entries()[entry].kind == block::WriteLog::Entry::Kind::flush;
      EXPECT_TRUE(flushed || wanted == Durable::with_the_next || history[i] == history[i + 1]);
      durable.push_back(flushed ? history.size() - 1 : durable.back());
      log.mark("changed");
    }
    const auto outcome = block::for_each_crash(
        log, *base, {.seed = seed, .samples = 4}, [&](const block::CrashState& crash) -> Result<void> {
          ++states;
          auto opened = TRY(DescriptionStore::open(crash.device));
          const size_t newest = std::min(crash.marks + 1, history.size() - 1);
          bool known = false;
          for (size_t i = durable[crash.marks]; i <= newest; ++i) known |= history[i] == opened.description();
          if (!known) return Error(err::corrupt, "a state that never was, or is too old");
          TRY(opened.put(volume(500, "after")));
          if (TRY(DescriptionStore::open(crash.device)).description() != opened.description())
            return Error(err::corrupt, "what was changed after the crash is not there");
          return {};
        });
    EXPECT_TRUE(outcome) << outcome.error().message();
  }
  EXPECT_GT(states, 400u);
}

// Whichever write fails, the change is not made, and those after it are there.
TEST(DescriptionStore, AChangeThatFailsIsNotMade) {
  for (uint64_t nth = 1;; ++nth) {
    const auto base = memory();
    block::FaultyDevice device(*base, {});
    auto store = DescriptionStore::create(device, empty_pool()).value();
    Workload workload(nth);
    // No space: not what makes flushes untrustworthy.
    device.set_faults({{.op = block::IoOp::write, .nth = nth, .error_kind = &err::no_space}});
    for (unsigned i = 0; i < 24; ++i) {
      const PoolDescription before = store.description();
      const uint64_t met = device.faults_met();
      const auto changed = workload.change(store);
      EXPECT_TRUE(changed || device.faults_met() > met);
      if (!changed) {
        EXPECT_EQ(store.description(), before);
      }
      EXPECT_EQ(reopened(*base), store.description());
    }
    if (device.faults_met() == 0) break;
  }
}

}  // namespace
}  // namespace karst::thin

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

TEST(DescriptionStore, WhatIsDamagedIsToldOrPassedOver) {
  const auto device = memory();
  auto store = DescriptionStore::create(*device, empty_pool()).value();
  ASSERT_TRUE(store.put(volume(1, "kept")));
  ASSERT_TRUE(store.put(volume(2, "damaged")));
  std::vector<std::byte> sector(512);
  const uint64_t second_record = DescriptionStore::copy_size + DescriptionStore::journal_at + 512;
  const uint64_t first_copy = 0;
  for (const uint64_t at : {first_copy, second_record}) {
    ASSERT_TRUE(device->read(at, sector));
    const auto good = sector;
    bool found = false;
    for (size_t i = 0; i < 160; ++i) {
      sector = good;
      sector[i] ^= std::byte{1};
      ASSERT_TRUE(device->write(at, sector));
      const auto opened = DescriptionStore::open(*device);
      if (opened && opened->description().volumes.find("damaged") == nullptr) found = true;
      EXPECT_TRUE(!opened || *opened->description().volumes.find("kept") == volume(1, "kept"));
    }
    EXPECT_TRUE(found || at != second_record);
    ASSERT_TRUE(device->write(at, good));
  }
  EXPECT_EQ(reopened(*device), store.description());
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
    for (unsigned i = 0; i < 60; ++i) {
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

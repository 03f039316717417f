// A pool's metadata against a model, over many transactions.
#include "thin/metadata/pool_metadata.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>

#include "block/file_device.h"
#include "block/memory_device.h"
#include "thin/format/errors.h"

namespace karst::thin {
namespace {

class NoData final : public CommitSteps {
 public:
  Result<void> flush_data() override { return {}; }
  void settle() override {}
} no_data;

class PoolMetadataTest : public testing::Test {
 protected:
  static constexpr uint64_t metadata_size = 64 << 20;
  void format(uint64_t data_blocks) {
    disk = block::MemoryDevice::create(metadata_size, 4096).value();
    pool = PoolMetadata::format(*disk, cache, 128).value();
    ASSERT_TRUE(pool->grow_data(data_blocks));
    ASSERT_TRUE(pool->commit(no_data));
  }
  void reopen() {
    pool.reset();
    auto opened = PoolMetadata::open(*disk, cache, Opening::for_writing);
    ASSERT_TRUE(opened) << opened.error().message();
    pool = std::move(*opened);
  }

  cache::Cache cache{{.limit = 16 << 20}};
  std::unique_ptr<block::Device> disk;
  std::unique_ptr<PoolMetadata> pool;
};

using Volume = std::map<uint64_t, uint64_t>;

// What the pool has for a device.
Volume contents(PoolMetadata& pool, DeviceId id) {
  Volume found;
  const ThinDeviceRef device = pool.open_device(id).value();
  EXPECT_TRUE(
      pool.walk(*device, VirtualBlock{0}, VirtualBlock{~uint64_t{0}}, [&](VirtualBlock at, Mapping mapping) {
        found[raw(at)] = raw(mapping.block);
        return true;
      }));
  EXPECT_EQ(pool.mapped_blocks(*device), found.size());
  return found;
}

// TH-001, TH-003, TH-007: devices, snapshots of snapshots, mappings and counts over many commits.
TEST_F(PoolMetadataTest, KeepsWhatAModelKeeps) {
  constexpr uint64_t data_blocks = 60000, volume_blocks = 1 << 20;
  format(data_blocks);
  std::mt19937_64 random(7);
  std::map<DeviceId, Volume> model, durable;
  const auto provision = [&](DeviceId id, uint64_t at, uint64_t count) {
    const ThinDeviceRef device = pool->open_device(id).value();
    for (uint64_t i = at; i < at + count; ++i) {
      auto block = pool->reserve_block();
      ASSERT_TRUE(block) << block.error().message();
      if (!*block) return;
      auto mapping = pool->insert(*device, VirtualBlock{i}, **block);
      ASSERT_TRUE(mapping) << mapping.error().message();
      ASSERT_FALSE(device->is_shared(*mapping));
      model[id][i] = raw(**block);
    }
  };
  for (int step = 0; step < 1500; ++step) {
    const DeviceId id = random() % 12;
    const bool known = model.contains(id);
    switch (random() % 10) {
      case 0:
        EXPECT_EQ(pool->create_thin(id).has_value(), !known);
        if (!known) model[id];
        break;
      case 1: {
        const DeviceId origin = random() % 12;
        const bool can = !known && model.contains(origin);
        auto made = pool->create_snap(id, origin);
        ASSERT_EQ(made.has_value(), can);
        if (can) model[id] = model[origin];
        break;
      }
      case 2:
        if (random() % 4 != 0) break;
        EXPECT_EQ(pool->delete_device(id).has_value(), known);
        model.erase(id);
        break;
      case 3: {
        if (!known) break;
        const uint64_t from = random() % volume_blocks, to = from + random() % 5000;
        const ThinDeviceRef device = pool->open_device(id).value();
        uint64_t erased = 0;
        auto done = pool->erase(*device, VirtualBlock{from}, VirtualBlock{to},
                                PoolMetadata::Freed::given_back, [&](VirtualBlock at, Mapping mapping, bool) {
                                  EXPECT_EQ(model[id].at(raw(at)), raw(mapping.block));
                                  ++erased;
                                });
        ASSERT_TRUE(done) << done.error().message();
        auto& volume = model[id];
        const auto begin = volume.lower_bound(from), end = volume.lower_bound(to);
        EXPECT_EQ(erased, static_cast<uint64_t>(std::distance(begin, end)));
        volume.erase(begin, end);
        break;
      }
      case 4:
        ASSERT_TRUE(pool->commit(no_data));
        durable = model;
        break;
      case 5:
        if (random() % 8 == 0) {
          ASSERT_TRUE(pool->abort());
          model = durable;
        } else if (random() % 4 == 0) {
          ASSERT_TRUE(pool->commit(no_data));
          durable = model;
          reopen();
        }
        break;
      case 6:
        if (known) provision(id, random() % volume_blocks, random() % 20);
        break;
      default:
        if (known) provision(id, (random() % 64) * 1000, random() % 400);
    }
    if (HasFailure()) FAIL() << "at step " << step;
  }
  ASSERT_TRUE(pool->commit(no_data));
  reopen();
  std::map<uint64_t, uint32_t> used;
  ASSERT_EQ(pool->devices().value().size(), model.size());
  for (const auto& [id, volume] : model) {
    EXPECT_EQ(contents(*pool, id), volume) << "device " << id;
  }
  // A data block's count is the number of leaves, not of devices, that have it; used ones have one.
  for (const auto& [id, volume] : model)
    for (const auto& [at, block] : volume) ++used[block];
  EXPECT_EQ(pool->space().data_available, data_blocks - used.size());
  for (uint64_t block = 0; block < data_blocks; ++block)
    ASSERT_EQ(pool->count(DataBlock{block}).value() != 0, used.contains(block)) << block;
  if (const char* keep = std::getenv("KARST_KEEP_THIN")) {
    auto file = block::FileDevice::create(keep, metadata_size).value();
    std::vector<std::byte> bytes(metadata_size);
    ASSERT_TRUE(disk->read(0, bytes) && file->write(0, bytes));
  }
}

}  // namespace
}  // namespace karst::thin

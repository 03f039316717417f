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
  EXPECT_EQ(pool.details(id)->mapped_blocks, found.size());
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

// TH-012, TH-042: a request may have looked the block up before it was freed, even in the transaction that
// mapped it.
TEST_F(PoolMetadataTest, WhatATransactionFreedIsNotGivenOutBeforeItsCommit) {
  format(2);
  ASSERT_TRUE(pool->create_thin(0));
  const ThinDeviceRef device = pool->open_device(0).value();
  const auto map = [&]() -> std::optional<DataBlock> {
    const auto block = pool->reserve_block().value();
    if (block) {
      EXPECT_TRUE(pool->insert(*device, VirtualBlock{7}, *block));
    }
    return block;
  };
  const auto unmap = [&] {
    ASSERT_TRUE(pool->erase(*device, VirtualBlock{0}, VirtualBlock{100}, PoolMetadata::Freed::given_back,
                            [](VirtualBlock, Mapping, bool last) { EXPECT_TRUE(last); }));
  };
  const auto first = map();
  unmap();
  const auto second = map();
  unmap();
  EXPECT_TRUE(first && second && first != second);
  EXPECT_FALSE(map());
  EXPECT_EQ(pool->space().data_available, 0);
  ASSERT_TRUE(pool->commit(no_data));
  EXPECT_EQ(pool->space().data_available, 2);
  ASSERT_TRUE(map());
  ASSERT_TRUE(pool->commit(no_data));
  unmap();
  EXPECT_TRUE(map());
  EXPECT_FALSE(map());
}

// TH-040: a block that is kept counts as not available until it is given back, and then until the next
// commit.
TEST_F(PoolMetadataTest, WhatIsKeptIsCountedOnce) {
  format(4);
  ASSERT_TRUE(pool->create_thin(0));
  const ThinDeviceRef device = pool->open_device(0).value();
  const DataBlock block = *pool->reserve_block().value();
  EXPECT_EQ(pool->space().data_available, 3);
  ASSERT_TRUE(pool->insert(*device, VirtualBlock{7}, block));
  ASSERT_TRUE(pool->erase(*device, VirtualBlock{7}, VirtualBlock{8}, PoolMetadata::Freed::kept,
                          [](VirtualBlock, Mapping, bool) {}));
  ASSERT_TRUE(pool->commit(no_data));
  EXPECT_EQ(pool->space().data_available, 3);
  pool->give_back(block, 1);
  pool->give_back(block, 1);
  EXPECT_EQ(pool->space().data_available, 3);
  ASSERT_TRUE(pool->commit(no_data));
  EXPECT_EQ(pool->space().data_available, 4);
}

// TH-001: a metadata snapshot stays as it was, and goes without leaving anything.
TEST_F(PoolMetadataTest, AMetadataSnapshotHoldsADurableState) {
  format(100);
  ASSERT_TRUE(pool->create_thin(0));
  ThinDeviceRef device = pool->open_device(0).value();
  for (uint64_t i = 0; i < 20; ++i)
    ASSERT_TRUE(pool->insert(*device, VirtualBlock{i}, *pool->reserve_block().value()));
  ASSERT_TRUE(pool->commit(no_data));
  const uint64_t before = pool->space().metadata_available;
  ASSERT_TRUE(pool->reserve_metadata_snap(no_data));
  ASSERT_TRUE(pool->commit(no_data));
  const MetadataBlock held = pool->held_root();
  std::vector<std::byte> block(metadata_block_size);
  ASSERT_TRUE(disk->read(raw(held) * metadata_block_size, block));
  ASSERT_TRUE(check_seal(BlockKind::superblock, held, block));
  const MetadataBlock root{overlay<Superblock>(block)->data_mapping_root.value()};
  std::vector<std::byte> root_before(metadata_block_size), root_after(metadata_block_size);
  ASSERT_TRUE(disk->read(raw(root) * metadata_block_size, root_before));
  for (uint64_t i = 20; i < 60; ++i)
    ASSERT_TRUE(pool->insert(*device, VirtualBlock{i}, *pool->reserve_block().value()));
  ASSERT_TRUE(pool->commit(no_data));
  ASSERT_TRUE(disk->read(raw(root) * metadata_block_size, root_after));
  EXPECT_EQ(root_before, root_after);
  EXPECT_FALSE(pool->reserve_metadata_snap(no_data));
  ASSERT_TRUE(pool->release_metadata_snap());
  ASSERT_TRUE(pool->commit(no_data));
  ASSERT_TRUE(pool->commit(no_data));
  EXPECT_EQ(pool->space().metadata_available, before);
}

}  // namespace
}  // namespace karst::thin

// A pool on memory devices, and a volume's bytes as they should be. For tests.
#pragma once
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "block/faulty_device.h"
#include "block/memory_device.h"
#include "thin/pool/volume.h"

namespace karst::thin::testing_pool {

constexpr uint64_t block_bytes = 64 << 10;
constexpr uint32_t block_sectors = block_bytes / sector_size;

// Time that passes when the test says so.
class FakeClock {
 public:
  void pass(std::chrono::nanoseconds time) { now_ += time.count(); }
  PoolOptions::Clock function() {
    return [this] { return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(now_.load())); };
  }

 private:
  std::atomic<int64_t> now_{0};
};

struct Devices {
  explicit Devices(uint64_t data_blocks, uint64_t metadata_size = 4 << 20)
      : metadata(block::MemoryDevice::create(metadata_size, 4096, "metadata").value()),
        data(block::MemoryDevice::create(data_blocks * block_bytes, 512, "data").value()) {}
  std::unique_ptr<block::Device> metadata, data;
};

inline PoolOptions options_for_tests(FakeClock& clock) {
  PoolOptions options;
  options.clock = clock.function();
  options.timer = false;
  return options;
}

class PoolTest : public ::testing::Test {
 protected:
  void make(uint64_t data_blocks, uint64_t metadata_size = 4 << 20) {
    devices = std::make_unique<Devices>(data_blocks, metadata_size);
    open();
  }
  void open() { open_on(*devices->metadata, *devices->data); }
  void open_on(block::Device& metadata, block::Device& data) {
    auto opened = Pool::open(metadata, data, cache, block_sectors, options);
    ASSERT_TRUE(opened) << opened.error().message();
    pool = std::move(*opened);
  }
  VolumeRef volume(DeviceId id, uint64_t blocks, std::shared_ptr<block::Device> origin = nullptr) {
    auto opened = pool->open_volume(id, blocks * block_bytes, std::move(origin));
    EXPECT_TRUE(opened) << opened.error().message();
    return opened ? *opened : nullptr;
  }
  VolumeRef create(DeviceId id, uint64_t blocks, std::shared_ptr<block::Device> origin = nullptr) {
    EXPECT_TRUE(pool->create_thin(id));
    return volume(id, blocks, std::move(origin));
  }
  uint64_t used() { return pool->status().space.data_blocks - pool->status().space.data_available; }

  cache::Cache cache{{.limit = 16 << 20}};
  FakeClock clock;
  PoolOptions options = options_for_tests(clock);
  std::unique_ptr<Devices> devices;
  PoolRef pool;
};

inline std::vector<std::byte> pattern(uint64_t seed, size_t size) {
  std::vector<std::byte> bytes(size);
  std::mt19937_64 random(seed);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(random());
  return bytes;
}

inline std::vector<std::byte> read_all(block::Device& device, uint64_t offset, size_t size) {
  std::vector<std::byte> bytes(size);
  auto read = device.read(offset, bytes);
  EXPECT_TRUE(read) << read.error().message();
  return bytes;
}

}  // namespace karst::thin::testing_pool

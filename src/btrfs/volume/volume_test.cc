// Batches of reads: what is in flight together, and what each request comes to.
#include "btrfs/volume/volume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "btrfs/tool/testing_mutation.h"

namespace karst::btrfs::testing {
namespace {

using ::testing::HasSubstr;

// Does nothing until it is asked for results, as a ring may; and counts what is in flight.
class LazyQueue final : public block::Queue {
 public:
  void submit(block::Device& device, block::IoRequest& request) override {
    waiting_.emplace_back(&device, &request);
    most_ = std::max(most_, waiting_.size());
  }
  void start() override {}
  block::IoRequest* reap() override { return try_reap(); }
  block::IoRequest* try_reap() override {
    if (waiting_.empty()) return nullptr;
    auto [device, request] = waiting_.back();
    waiting_.pop_back();
    reaping_ = true;
    device->execute(*request);
    reaping_ = false;
    return request;
  }
  size_t in_flight() const override { return waiting_.size(); }
  bool busy() const { return !waiting_.empty() && !reaping_; }
  size_t most() const { return most_; }

 private:
  std::vector<std::pair<block::Device*, block::IoRequest*>> waiting_;
  bool reaping_ = false;
  size_t most_ = 0;
};

// Notes whether it is read beside the queue while that has requests in flight.
class Watched final : public block::Device {
 public:
  Watched(std::unique_ptr<block::Device> below, const LazyQueue& queue, bool& seen)
      : below_(std::move(below)), queue_(queue), seen_(seen) {}
  const std::string& name() const override { return below_->name(); }
  uint64_t size() const override { return below_->size(); }
  uint32_t block_size() const override { return below_->block_size(); }
  bool writable() const override { return below_->writable(); }

 protected:
  Result<void> perform(const block::IoRequest& request) override {
    seen_ |= queue_.busy();
    return below_->run(request.again());
  }

 private:
  const std::unique_ptr<block::Device> below_;
  const LazyQueue& queue_;
  bool& seen_;
};

class Batches : public ::testing::Test {
 protected:
  void open(const std::string& name, std::optional<size_t> missing = {}) {
    pristine_ = std::make_unique<PristineImage>(name);
    auto devices = pristine_->overlays();
    if (missing) devices.erase(devices.begin() + static_cast<ptrdiff_t>(*missing));
    for (auto& device : devices) device = std::make_unique<Watched>(std::move(device), queue_, read_beside_);
    image_ = *Image::open_on(std::move(devices), pristine_->options(), cache_, Logger());
    for (const ChunkEntry& chunk : volume().chunks().all())
      if (chunk.type & block_group::data) data_ = chunk.logical;
  }
  const Volume& volume() const { return image_->fs().volume(); }
  // What these ranges of the data chunk hold, each read by itself.
  std::vector<std::vector<std::byte>> one_by_one(const std::vector<std::pair<uint64_t, size_t>>& ranges) {
    std::vector<std::vector<std::byte>> all;
    for (auto [offset, length] : ranges) {
      all.emplace_back(length);
      EXPECT_TRUE(volume().read_copy(Logical(data_ + offset), all.back(), 0));
    }
    return all;
  }

  std::unique_ptr<PristineImage> pristine_;
  cache::Cache cache_;
  LazyQueue queue_;
  bool read_beside_ = false;
  std::unique_ptr<Image> image_;
  uint64_t data_ = 0;
};

const std::vector<std::pair<uint64_t, size_t>> ranges = {
    {0, 4096}, {4096, 8192}, {65536 - 4096, 8192}, {100 << 10, 300 << 10}, {0, 200 << 10}};

TEST_F(Batches, AreInFlightTogetherAndGiveWhatEachReadGives_BT073) {
  for (const char* name : {"single-1", "raid0-3", "raid1-2", "raid5-3", "raid6-5"}) {
    open(name);
    const auto expected = one_by_one(ranges);
    std::vector<std::vector<std::byte>> buffers;
    std::vector<Volume::ReadRequest> requests;
    for (auto [offset, length] : ranges) buffers.emplace_back(length);
    for (size_t i = 0; i < ranges.size(); ++i)
      requests.push_back({Logical(data_ + ranges[i].first), buffers[i], 0, {}});
    volume().read_batch(queue_, requests);
    EXPECT_GE(queue_.most(), ranges.size());
    for (size_t i = 0; i < ranges.size(); ++i) {
      ASSERT_TRUE(requests[i].outcome.has_value() && *requests[i].outcome) << name;
      EXPECT_TRUE(buffers[i] == expected[i]) << name;
    }
  }
}

// Rebuilding takes memory and time, and fails: not while the kernel writes into what belongs to others.
TEST_F(Batches, AreDoneBeforeAnythingIsRebuilt_BT095) {
  open("raid5-3");
  const auto expected = one_by_one(ranges);
  for (size_t missing : {0, 1, 2}) {
    open("raid5-3", missing);
    std::vector<std::vector<std::byte>> buffers;
    std::vector<Volume::ReadRequest> requests;
    for (auto [offset, length] : ranges) buffers.emplace_back(length);
    for (size_t i = 0; i < ranges.size(); ++i)
      requests.push_back({Logical(data_ + ranges[i].first), buffers[i], 0, {}});
    volume().read_batch(queue_, requests);
    EXPECT_FALSE(read_beside_) << "without device " << missing;
    for (size_t i = 0; i < ranges.size(); ++i) {
      ASSERT_TRUE(requests[i].outcome.has_value() && *requests[i].outcome);
      EXPECT_TRUE(buffers[i] == expected[i]) << "without device " << missing;
    }
  }
}

TEST_F(Batches, GiveEachRequestItsOwnError_BT092) {
  open("single-1");
  std::vector<std::byte> buffer(4096);
  Volume::ReadRequest requests[] = {{Logical(data_), buffer, 0, {}},
                                    {Logical(1ull << 60), buffer, 0, {}},
                                    {Logical(data_), buffer, 1, {}},
                                    {Logical(data_ + 4096), buffer, 0, {}}};
  volume().read_batch(queue_, requests);
  EXPECT_TRUE(*requests[0].outcome);
  ASSERT_FALSE(*requests[1].outcome);
  EXPECT_TRUE(requests[1].outcome->error().is(err::chunk_missing));
  ASSERT_FALSE(*requests[2].outcome);
  EXPECT_THAT(requests[2].outcome->error().message(), HasSubstr("no such copy"));
  EXPECT_TRUE(*requests[3].outcome);
}

}  // namespace
}  // namespace karst::btrfs::testing

// One contract for all device kinds: the same tests run on every one of them, and through every queue.
#include "block/device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "block/device_test_kinds.h"
#include "block/file_device.h"
#include "block/memory_device.h"
#include "block/nbd_helper.h"
#include "block/open.h"

namespace karst::block {
namespace {

using testing_kinds::device_kinds;
using testing_kinds::Kind;
using testing_kinds::Made;

std::vector<std::byte> pattern(size_t length, uint32_t seed) {
  std::vector<std::byte> bytes(length);
  for (size_t i = 0; i < length; ++i)
    bytes[i] = static_cast<std::byte>((i * 2654435761u + seed * 40503u) >> 7);
  return bytes;
}

std::vector<std::byte> zeroes(size_t length) { return std::vector<std::byte>(length); }

class DeviceContract : public ::testing::TestWithParam<Kind> {
 protected:
  static constexpr uint64_t size = 8 << 20;
  Made made_ = GetParam().make(size);
  Device& device_ = *made_.device;

  std::vector<std::byte> read(uint64_t offset, size_t length) {
    std::vector<std::byte> bytes(length, std::byte{0xee});
    auto result = device_.read(offset, bytes);
    EXPECT_TRUE(result) << result.error().message();
    return bytes;
  }
  void write(uint64_t offset, Bytes bytes, IoFlags flags = IoFlags::none) {
    auto result = device_.write(offset, bytes, flags);
    EXPECT_TRUE(result) << result.error().message();
  }
};

TEST_P(DeviceContract, SaysWhatItIs) {
  EXPECT_EQ(device_.size(), size);
  EXPECT_TRUE(std::has_single_bit(device_.block_size()));
  EXPECT_TRUE(device_.writable());
  EXPECT_FALSE(device_.name().empty());
}

TEST_P(DeviceContract, ReadsZeroesWhereNothingWasWritten) { EXPECT_EQ(read(12288, 8192), zeroes(8192)); }

TEST_P(DeviceContract, ReadsBackWhatWasWrittenPlainAndFua) {
  write(4096, pattern(8192, 1));
  write(1 << 20, pattern(65536, 2), IoFlags::fua);
  EXPECT_EQ(read(4096, 8192), pattern(8192, 1));
  EXPECT_EQ(read(1 << 20, 65536), pattern(65536, 2));
  EXPECT_TRUE(device_.flush());
}

TEST_P(DeviceContract, ReadsAreOfAnySizeAtAnyOffset) {
  write(0, pattern(65536, 3));
  const auto all = pattern(65536, 3);
  for (const auto& [offset, length] : {std::pair{1, 1}, {511, 2}, {4095, 4098}, {65535, 1}, {777, 50000}})
    EXPECT_EQ(read(offset, length), std::vector(all.begin() + offset, all.begin() + offset + length));
}

TEST_P(DeviceContract, MovesDataThroughManyUnequalBuffers) {
  const auto data = pattern(5000 * 512, 4);
  std::vector<iovec> buffers;
  auto copy = data;
  for (size_t at = 0, i = 0; at < copy.size(); ++i) {
    const size_t part = std::min<size_t>(1 + i * 7 % 1021, copy.size() - at);
    buffers.push_back({copy.data() + at, part});
    if (i % 5 == 0) buffers.push_back({copy.data() + at, 0});
    at += part;
  }
  ASSERT_GT(buffers.size(), 1024u);
  IoRequest request{IoOp::write, IoFlags::none, 4096, copy.size(), buffers};
  device_.execute(request);
  ASSERT_TRUE(*request.outcome) << request.outcome->error().message();
  std::ranges::fill(copy, std::byte{0});
  request = {IoOp::read, IoFlags::none, 4096, copy.size(), buffers};
  device_.execute(request);
  ASSERT_TRUE(*request.outcome) << request.outcome->error().message();
  EXPECT_EQ(copy, data);
  EXPECT_EQ(read(4096, data.size()), data);
}

TEST_P(DeviceContract, WriteZeroesMakesARangeZeroAndNothingElse) {
  write(0, pattern(1 << 20, 5));
  ASSERT_TRUE(device_.write_zeroes(8192, 200 << 10));
  auto expected = pattern(1 << 20, 5);
  std::fill_n(expected.begin() + 8192, 200 << 10, std::byte{0});
  EXPECT_EQ(read(0, 1 << 20), expected);
}

TEST_P(DeviceContract, DiscardLeavesTheNeighboursAlone) {
  write(0, pattern(1 << 20, 6));
  const auto result = device_.discard(4096, 64 << 10);
  EXPECT_TRUE(result || result.error().is(err::unsupported));
  const auto all = pattern(1 << 20, 6);
  EXPECT_EQ(read(0, 4096), std::vector(all.begin(), all.begin() + 4096));
  EXPECT_EQ(read(68 << 10, 4096), std::vector(all.begin() + (68 << 10), all.begin() + (72 << 10)));
}

TEST_P(DeviceContract, TheLastByteIsInsideAndTheNextIsNot) {
  const auto last = pattern(device_.block_size(), 7);
  write(size - last.size(), last);
  EXPECT_EQ(read(size - last.size(), last.size()), last);
  std::byte byte{};
  EXPECT_TRUE(device_.read(size - 1, {&byte, 1}));
  EXPECT_TRUE(device_.read(size, {&byte, 0}));
  const auto past = device_.read(size, {&byte, 1});
  ASSERT_FALSE(past);
  EXPECT_TRUE(past.error().is(err::invalid));
  EXPECT_NE(past.error().message().find(device_.name()), std::string::npos) << past.error().message();
}

TEST_P(DeviceContract, RangesThatWrapAroundAreOutside) {
  std::byte byte{};
  EXPECT_TRUE(device_.read(UINT64_MAX, {&byte, 1}).error().is(err::invalid));
  EXPECT_TRUE(device_.discard(4096, UINT64_MAX - 4095).error().is(err::invalid));  // would end at 0
  IoRequest lies{IoOp::read, IoFlags::none, 0, 4096, {}};
  device_.execute(lies);
  EXPECT_TRUE(lies.outcome->error().is(err::invalid));
}

TEST_P(DeviceContract, WritesAreOfWholeBlocks) {
  const auto bytes = pattern(device_.block_size(), 8);
  EXPECT_TRUE(device_.write(1, bytes).error().is(err::invalid));
  EXPECT_TRUE(device_.write(0, Bytes(bytes).first(1)).error().is(err::invalid));
  EXPECT_TRUE(device_.write_zeroes(0, 1).error().is(err::invalid));
}

TEST_P(DeviceContract, FuaOnAReadIsRefused) {
  std::byte byte{};
  EXPECT_TRUE(device_.read(0, {&byte, 1}, IoFlags::fua).error().is(err::invalid));
}

// CO-018: whatever a nowait request does, it says would-block or has done its work.
TEST_P(DeviceContract, NowaitDoesItsWorkOrSaysWouldBlock) {
  write(0, pattern(4096, 9));
  std::vector<std::byte> bytes(4096);
  const auto result = device_.read(0, bytes, IoFlags::nowait);
  EXPECT_TRUE(result ? bytes == pattern(4096, 9) : result.error().is(err::would_block));
  const auto flushed = device_.flush(IoFlags::nowait);
  EXPECT_TRUE(flushed || flushed.error().is(err::would_block));
  const auto zeroed = device_.write_zeroes(0, 4096, IoFlags::nowait);
  EXPECT_TRUE(zeroed || zeroed.error().is(err::would_block));
}

#ifdef KARST_DEBUG
// CO-018: the validator watches over the whole stack of devices: under a lock that must not be waited under,
// a nowait request neither blocks nor takes a lock that may be waited for.
TEST_P(DeviceContract, ANowaitRequestWaitsForNothing) {
  static constexpr LockClass spin{"block.test.spin", {.no_block = true}};
  Mutex mutex{spin};
  write(0, pattern(4096, 9));
  std::vector<std::string> reports;
  lock_order::forget_edges();
  auto previous =
      lock_order::set_handler([&](const lock_order::Report& report) { reports.push_back(report.text); });
  {
    MutexLock lock(mutex);
    std::vector<std::byte> bytes(4096);
    for (const IoOp op : {IoOp::read, IoOp::write, IoOp::flush, IoOp::discard, IoOp::write_zeroes}) {
      const iovec buffer{bytes.data(), bytes.size()};
      IoRequest request{op, IoFlags::nowait, 0, 4096, {}};
      if (op == IoOp::read || op == IoOp::write) request.buffers = {&buffer, 1};
      if (op == IoOp::flush) request.length = 0;
      device_.execute(request);
      EXPECT_TRUE(*request.outcome || request.outcome->error().is(err::would_block) ||
                  request.outcome->error().is(err::unsupported))
          << request.outcome->error().message();
    }
  }
  lock_order::set_handler(std::move(previous));
  EXPECT_EQ(reports, std::vector<std::string>());
}
#endif

TEST_P(DeviceContract, ThreadsMayUseItTogether) {
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (uint32_t i = 0; i < 50; ++i) {
        const auto data = pattern(4096, t * 1000 + i);
        const uint64_t offset = (t + 4 * i) * 4096;
        ASSERT_TRUE(device_.write(offset, data));
        std::vector<std::byte> back(4096);
        ASSERT_TRUE(device_.read(offset, back));
        ASSERT_EQ(back, data);
        ASSERT_TRUE(i % 16 != 0 || device_.flush());
      }
    });
  for (auto& thread : threads) thread.join();
}

enum class QueueKind { ring, shallow_ring, in_line };

std::unique_ptr<Queue> make(QueueKind kind) {
  if (kind == QueueKind::in_line) return make_inline_queue();
  return make_queue(kind == QueueKind::ring ? 64 : 3);
}

class QueueContract : public ::testing::TestWithParam<std::tuple<Kind, QueueKind>> {
 protected:
  static constexpr uint64_t size = 8 << 20;
  static constexpr size_t count = 200;
  Made made_ = std::get<0>(GetParam()).make(size);
  Device& device_ = *made_.device;
  std::unique_ptr<Queue> queue_ = make(std::get<1>(GetParam()));

  struct Slot {
    std::vector<std::byte> bytes;
    iovec buffer{};
    IoRequest request{};
  };
  std::vector<Slot> slots_{count};

  IoRequest& prepare(size_t i, IoOp op, std::vector<std::byte> bytes, uint64_t offset) {
    Slot& slot = slots_[i];
    slot.bytes = std::move(bytes);
    slot.buffer = {slot.bytes.data(), slot.bytes.size()};
    slot.request = {op, IoFlags::none, offset, slot.bytes.size(), {&slot.buffer, 1}, &slot};
    return slot.request;
  }
  size_t reap_all() {
    size_t reaped = 0;
    while (IoRequest* request = queue_->reap()) {
      EXPECT_TRUE(request->done());
      EXPECT_TRUE(*request->outcome) << request->outcome->error().message();
      ++reaped;
    }
    return reaped;
  }
};

TEST_P(QueueContract, WithNothingInFlightThereIsNothingToReap) {
  EXPECT_EQ(queue_->in_flight(), 0u);
  EXPECT_EQ(queue_->reap(), nullptr);
  EXPECT_EQ(queue_->try_reap(), nullptr);
}

TEST_P(QueueContract, EveryRequestIsReapedOnceAndDoesWhatItSays) {
  for (size_t i = 0; i < count; ++i)
    queue_->submit(device_, prepare(i, IoOp::write, pattern(8192, i), i * 8192));
  EXPECT_EQ(queue_->in_flight(), count);
  EXPECT_EQ(reap_all(), count);
  IoRequest flush{.op = IoOp::flush};
  queue_->submit(device_, flush);
  EXPECT_EQ(queue_->reap(), &flush);
  for (size_t i = 0; i < count; ++i) queue_->submit(device_, prepare(i, IoOp::read, zeroes(8192), i * 8192));
  EXPECT_EQ(reap_all(), count);
  for (size_t i = 0; i < count; ++i) EXPECT_EQ(slots_[i].bytes, pattern(8192, i));
  EXPECT_EQ(queue_->in_flight(), 0u);
}

TEST_P(QueueContract, TryReapNeverWaitsAndGetsThereInTheEnd) {
  for (size_t i = 0; i < 40; ++i)
    queue_->submit(device_, prepare(i, IoOp::write, pattern(4096, i), i * 4096));
  size_t reaped = 0;
  while (queue_->in_flight() > 0)
    if (queue_->try_reap() != nullptr) ++reaped;
  EXPECT_EQ(reaped, 40u);
}

TEST_P(QueueContract, ABadRequestFailsAloneAndIsReaped) {
  queue_->submit(device_, prepare(0, IoOp::write, pattern(4096, 1), 0));
  queue_->submit(device_, prepare(1, IoOp::read, zeroes(4096), size));
  queue_->submit(device_, prepare(2, IoOp::write, pattern(4096, 2), 4096));
  while (queue_->reap() != nullptr) {
  }
  EXPECT_TRUE(*slots_[0].request.outcome);
  EXPECT_TRUE(slots_[1].request.outcome->error().is(err::invalid));
  EXPECT_TRUE(*slots_[2].request.outcome);
}

TEST_P(QueueContract, EmptyRequestsAreDone) {
  queue_->submit(device_, prepare(0, IoOp::read, {}, 0));
  queue_->submit(device_, prepare(1, IoOp::write, {}, size));
  EXPECT_EQ(reap_all(), 2u);
}

TEST_P(QueueContract, DestroyingAQueueWaitsForWhatIsInFlight) {
  for (size_t i = 0; i < 32; ++i)
    queue_->submit(device_, prepare(i, IoOp::write, pattern(65536, i), i * 65536));
  queue_->start();
  queue_.reset();
  for (size_t i = 0; i < 32; ++i) {
    ASSERT_TRUE(slots_[i].request.done());
    ASSERT_TRUE(*slots_[i].request.outcome);
  }
}

TEST_P(QueueContract, ManyBuffersAreSplitAtTheKernelsLimit) {
  auto data = pattern(4 << 20, 11);
  std::vector<iovec> buffers;
  for (size_t at = 0; at < data.size(); at += 1024) buffers.push_back({data.data() + at, 1024});
  ASSERT_GT(buffers.size(), 3 * 1024u);
  IoRequest request{IoOp::write, IoFlags::none, 4096, data.size(), buffers};
  queue_->submit(device_, request);
  queue_->submit(device_, prepare(0, IoOp::read, zeroes(512), 0));  // two, so that the ring is used
  EXPECT_EQ(reap_all(), 2u);
  std::ranges::fill(data, std::byte{0});
  request = {IoOp::read, IoFlags::none, 4096, data.size(), buffers};
  queue_->submit(device_, request);
  queue_->submit(device_, prepare(0, IoOp::read, zeroes(512), 0));
  EXPECT_EQ(reap_all(), 2u);
  EXPECT_EQ(data, pattern(4 << 20, 11));
}

std::string name_of_kind(const ::testing::TestParamInfo<Kind>& tested) { return tested.param.name; }

std::string name_of_pair(const ::testing::TestParamInfo<std::tuple<Kind, QueueKind>>& tested) {
  static const char* const queues[] = {"Ring", "ShallowRing", "Inline"};
  return std::get<0>(tested.param).name + queues[static_cast<int>(std::get<1>(tested.param))];
}

INSTANTIATE_TEST_SUITE_P(Kinds, DeviceContract, ::testing::ValuesIn(device_kinds()), name_of_kind);
INSTANTIATE_TEST_SUITE_P(Kinds, QueueContract,
                         ::testing::Combine(::testing::ValuesIn(device_kinds()),
                                            ::testing::Values(QueueKind::ring, QueueKind::shallow_ring,
                                                              QueueKind::in_line)),
                         name_of_pair);

// What only files do.

class FileDeviceTest : public ::testing::Test {
 protected:
  testing_kinds::TemporaryFile file_{1 << 20};
};

TEST_F(FileDeviceTest, AFileThatShrinksUnderUsGivesAnErrorWithBothLengths) {
  auto device = FileDevice::open(file_.path(), OpenMode::read_only).value();
  ASSERT_EQ(::truncate(file_.path().c_str(), 6144), 0);
  std::vector<std::byte> bytes(8192);
  const auto result = device->read(4096, bytes);
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().is(err::io));
  EXPECT_EQ(result.error().expected_text(), "8192 bytes");
  EXPECT_EQ(result.error().found_text(), "2048 bytes");
  EXPECT_NE(result.error().message().find(file_.path()), std::string::npos);
  EXPECT_NE(result.error().message().find("offset 4096"), std::string::npos);
}

TEST_F(FileDeviceTest, TheRingReportsAShrunkenFileInTheSameWords) {
  auto device = FileDevice::open(file_.path(), OpenMode::read_only).value();
  ASSERT_EQ(::truncate(file_.path().c_str(), 6144), 0);
  std::vector<std::byte> bytes(8192);
  const iovec buffer{bytes.data(), bytes.size()};
  IoRequest first{IoOp::read, IoFlags::none, 4096, 8192, {&buffer, 1}};
  IoRequest second = {IoOp::read, IoFlags::none, 65536, 8192, {&buffer, 1}};
  auto queue = make_queue();
  queue->submit(*device, first);
  queue->submit(*device, second);
  while (queue->reap() != nullptr) {
  }
  EXPECT_EQ(first.outcome->error().message(), device->read(4096, bytes).error().message());
  EXPECT_EQ(second.outcome->error().found_text(), "0 bytes");
}

TEST_F(FileDeviceTest, AReadOnlyDeviceRefusesWritesAndFlushesNothing) {
  auto device = FileDevice::open(file_.path(), OpenMode::read_only).value();
  EXPECT_FALSE(device->writable());
  EXPECT_TRUE(device->write(0, zeroes(512)).error().is(err::read_only));
  EXPECT_TRUE(device->discard(0, 512).error().is(err::read_only));
  EXPECT_TRUE(device->flush());
}

TEST_F(FileDeviceTest, ExclusiveOpensExcludeEachOther) {
  const FileOptions exclusive{.exclusive = true};
  auto writer = FileDevice::open(file_.path(), OpenMode::read_write, exclusive).value();
  EXPECT_TRUE(FileDevice::open(file_.path(), OpenMode::read_write, exclusive).error().is(err::busy));
  EXPECT_TRUE(FileDevice::open(file_.path(), OpenMode::read_only, exclusive).error().is(err::busy));
  EXPECT_TRUE(FileDevice::open(file_.path(), OpenMode::read_only));
  writer.reset();
  auto reader = FileDevice::open(file_.path(), OpenMode::read_only, exclusive).value();
  EXPECT_TRUE(FileDevice::open(file_.path(), OpenMode::read_only, exclusive));
  EXPECT_TRUE(FileDevice::open(file_.path(), OpenMode::read_write, exclusive).error().is(err::busy));
}

TEST_F(FileDeviceTest, WhatCannotBeADeviceIsNamed) {
  EXPECT_TRUE(FileDevice::open("/nonexistent/x", OpenMode::read_only).error().is(err::not_found));
  EXPECT_TRUE(FileDevice::open("/", OpenMode::read_only).error().is(err::is_a_directory));
  EXPECT_TRUE(FileDevice::open("/dev/null", OpenMode::read_only).error().is(err::invalid));
}

TEST_F(FileDeviceTest, AnOddTailCanBeReadAndWrittenToItsEnd) {
  ASSERT_EQ(::truncate(file_.path().c_str(), 1000), 0);
  auto device = FileDevice::open(file_.path(), OpenMode::read_write).value();
  EXPECT_TRUE(device->write(512, pattern(488, 1)));
  std::vector<std::byte> bytes(488);
  EXPECT_TRUE(device->read(512, bytes));
  EXPECT_EQ(bytes, pattern(488, 1));
  EXPECT_TRUE(device->write(512, pattern(487, 1)).error().is(err::invalid));
}

// CO-009: a write smaller than the unit of direct transfers is read, changed and written whole; what of the
// unit is not there must not come from our memory.
TEST_F(FileDeviceTest, ADirectWriteIntoAFileThatShrankWritesNothingOfOurMemory) {
  ::mallopt(M_PERTURB, 0x5a);
  auto device = FileDevice::open(file_.path(), OpenMode::read_write, {.direct = true}).value();
  ASSERT_EQ(::truncate(file_.path().c_str(), 0), 0);
  ASSERT_TRUE(device->write(512, pattern(512, 1)));
  ::mallopt(M_PERTURB, 0);
  auto expected = zeroes(4096);
  std::ranges::copy(pattern(512, 1), expected.begin() + 512);
  std::vector<std::byte> bytes(4096);
  ASSERT_TRUE(FileDevice::open(file_.path(), OpenMode::read_only).value()->read(0, bytes));
  EXPECT_EQ(bytes, expected);
}

TEST_F(FileDeviceTest, ADirectDeviceMayEndInsideAUnit) {
  ASSERT_EQ(::truncate(file_.path().c_str(), 8192 + 512), 0);
  auto device = FileDevice::open(file_.path(), OpenMode::read_write, {.direct = true}).value();
  const auto written = device->write(8192, pattern(512, 1));
  ASSERT_TRUE(written) << written.error().message();
  std::vector<std::byte> bytes(512);
  ASSERT_TRUE(device->read(8192, bytes));
  EXPECT_EQ(bytes, pattern(512, 1));
  EXPECT_EQ(std::filesystem::file_size(file_.path()), 8192u + 512);
}

TEST_F(FileDeviceTest, DiscardGivesSpaceBack) {
  auto device = FileDevice::open(file_.path(), OpenMode::read_write).value();
  ASSERT_TRUE(device->write(0, pattern(1 << 20, 3)));
  ASSERT_TRUE(device->flush());
  struct stat before, after;
  ASSERT_EQ(::stat(file_.path().c_str(), &before), 0);
  if (auto result = device->discard(0, 512 << 10); !result) GTEST_SKIP() << result.error().message();
  ASSERT_EQ(::stat(file_.path().c_str(), &after), 0);
  EXPECT_LE(after.st_blocks, before.st_blocks - (256 << 10) / 512);
}

TEST_F(FileDeviceTest, CreateSetsTheSizeAndKeepsAFileInUse) {
  const FileOptions exclusive{.exclusive = true};
  auto device = FileDevice::create(file_.path(), 3 << 20, exclusive).value();
  EXPECT_EQ(device->size(), 3u << 20);
  EXPECT_TRUE(FileDevice::create(file_.path(), 4096, exclusive).error().is(err::busy));
  EXPECT_EQ(std::filesystem::file_size(file_.path()), 3u << 20);
}

// A failed flush is not made good by a later one: the system may have dropped what it could not write.

TEST(FlushTest, AfterAFailedFlushOrFuaWriteNoFlushSucceeds) {
  for (const IoOp failing : {IoOp::flush, IoOp::write}) {
    auto memory = MemoryDevice::create(1 << 20).value();
    FaultyDevice device(*memory, {.faults = {{.op = failing}}});
    const auto bytes = pattern(512, 1);
    EXPECT_FALSE(failing == IoOp::flush ? device.flush() : device.write(0, bytes, IoFlags::fua));
    EXPECT_TRUE(device.write(0, bytes));
    EXPECT_FALSE(device.flush());
    auto queue = make_queue();
    IoRequest flush{.op = IoOp::flush};
    queue->submit(device, flush);
    queue->reap();
    ASSERT_FALSE(*flush.outcome);
    EXPECT_TRUE(flush.outcome->error().is(err::io));
  }
}

TEST(FlushTest, AFailedPlainWriteAndAFlushThatWouldBlockAreNoLoss) {
  auto memory = MemoryDevice::create(1 << 20).value();
  FaultyDevice device(
      *memory, {.faults = {{.op = IoOp::write}, {.op = IoOp::flush, .error_kind = &err::would_block}}});
  EXPECT_FALSE(device.write(0, pattern(512, 1)));
  EXPECT_TRUE(device.flush().error().is(err::would_block));
  EXPECT_TRUE(device.flush());
}

// A device whose requests go to the ring on a descriptor of the test's choice.
class RingOn : public Device {
 public:
  const std::string& name() const override { return name_; }
  uint64_t size() const override { return 1 << 20; }
  uint32_t block_size() const override { return 512; }
  bool writable() const override { return true; }
  std::optional<DirectIo> begin_direct(const IoRequest& request) override {
    return DirectIo{.fd = fd, .offset = request.offset};
  }
  int fd = -1;

 protected:
  Result<void> perform(const IoRequest&) override { return Error(err::io, "not by the ring"); }

 private:
  const std::string name_ = "ring";
};

TEST(FlushTest, NorDoesOneByTheRing) {
  testing_kinds::TemporaryFile file(8192);
  const int good = ::open(file.path().c_str(), O_RDWR | O_CLOEXEC);
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);  // cannot be flushed
  RingOn device;
  auto queue = make_queue();
  const auto flush_twice = [&](int fd) {  // two, so that the ring is used
    device.fd = fd;
    IoRequest first{.op = IoOp::flush}, second{.op = IoOp::flush};
    queue->submit(device, first);
    queue->submit(device, second);
    while (queue->reap() != nullptr) {
    }
    return first.outcome->has_value() && second.outcome->has_value();
  };
  EXPECT_TRUE(flush_twice(good));
  EXPECT_FALSE(flush_twice(pipe[0]));
  EXPECT_FALSE(flush_twice(good));
  for (const int fd : {good, pipe[0], pipe[1]}) ::close(fd);
}

// TH-056: the hook sees each request that was done, once, and answers with one of two outcomes; it may make a
// failure of a success, and the reverse.
TEST(Completion, AHookChangesTheOutcome_TH056) {
  auto memory = MemoryDevice::create(1 << 20).value();
  std::vector<IoOp> seen;
  FaultyDevice device(*memory, {.faults = {{.op = IoOp::read}},
                                .after = [&](const IoRequest& request, Result<void>& outcome) {
                                  seen.push_back(request.op);
                                  if (request.op == IoOp::write)
                                    outcome = Error(err::no_space, "says the hook");
                                  else if (!outcome)
                                    outcome = {};
                                  return Completion::done;
                                }});
  EXPECT_TRUE(device.write(0, pattern(512, 1)).error().is(err::no_space));
  std::vector<std::byte> bytes(512);
  EXPECT_TRUE(device.read(0, bytes));
  EXPECT_TRUE(device.read(1 << 20, bytes).error().is(err::invalid));  // refused: not the hook's
  EXPECT_EQ(seen, (std::vector{IoOp::write, IoOp::read}));
  EXPECT_EQ(device.counts().failed, 1u);
}

// TH-056
TEST(Completion, AHookHasTheWholeRequestDoneAgain_TH056) {
  auto memory = MemoryDevice::create(1 << 20).value();
  unsigned failures = 0;
  FaultyDevice device(*memory,
                      {.faults = {{.times = 3}}, .after = [&](const IoRequest&, Result<void>& outcome) {
                         if (outcome) return Completion::done;
                         ++failures;
                         return Completion::again;
                       }});
  EXPECT_TRUE(device.write(4096, pattern(8192, 1)));
  EXPECT_EQ(failures, 3u);
  std::vector<std::byte> bytes(8192);
  EXPECT_TRUE(device.read(4096, bytes));
  EXPECT_EQ(bytes, pattern(8192, 1));
  // What is done again is one request.
  EXPECT_EQ(device.counts().of(IoOp::write).requests, 1u);
  EXPECT_EQ(device.counts().failed, 0u);
  // And a flush that failed stays failed, whatever the next one says.
  device.set_faults({{.op = IoOp::flush}});
  EXPECT_FALSE(device.flush());
  EXPECT_FALSE(device.flush());
  EXPECT_EQ(device.counts().of(IoOp::flush).requests, 2u);
}

// TH-056: what the ring did has the same hook.
TEST(Completion, TheRingsRequestsHaveTheHookToo_TH056) {
  testing_kinds::TemporaryFile file(8192);
  class Hooked final : public RingOn {
   public:
    unsigned hooks = 0, performed = 0;

   protected:
    Result<void> perform(const IoRequest&) override {
      ++performed;
      return {};
    }
    Completion on_completion(const IoRequest&, Result<void>& outcome) override {
      return ++hooks == 1 && outcome ? Completion::again : Completion::done;
    }
  } device;
  device.fd = ::open(file.path().c_str(), O_RDWR | O_CLOEXEC);
  auto queue = make_queue();
  IoRequest first{.op = IoOp::flush}, second{.op = IoOp::flush};
  queue->submit(device, first);
  queue->submit(device, second);
  while (queue->reap() != nullptr) {
  }
  EXPECT_EQ(device.hooks, 3u);
  EXPECT_EQ(device.performed, 1u);
  EXPECT_EQ(device.counts().of(IoOp::flush).requests, 2u);
  ::close(device.fd);
}

// TH-057: a request counts where its client gave it to, once; what devices make of it below does not. One
// that is refused at the entry counts nowhere.
TEST(Accounting, ARequestIsCountedOnceWhereItCameIn_TH057) {
  testing_kinds::TemporaryFile file(1 << 20);
  const auto below = FileDevice::open(file.path(), OpenMode::read_write).value();
  SliceDevice outer(*below, 4096, 64 << 10, "outer");
  SliceDevice inner(outer, 4096, 16 << 10, "inner");
  std::vector<std::byte> bytes(4096);
  ASSERT_TRUE(inner.write(0, bytes));
  ASSERT_TRUE(inner.read(0, bytes));
  ASSERT_TRUE(inner.flush());
  EXPECT_FALSE(inner.read(16 << 10, bytes));
  for (auto& queue : {make_queue(), make_inline_queue()}) {
    const iovec buffer{bytes.data(), bytes.size()};
    std::array<IoRequest, 8> requests;
    for (IoRequest& request : requests) {
      request = {.op = IoOp::read, .length = bytes.size(), .buffers = {&buffer, 1}};
      queue->submit(inner, request);
    }
    while (queue->reap() != nullptr) {
    }
  }
  const IoCounts counts = inner.counts();
  EXPECT_EQ(counts.of(IoOp::write).requests, 1u);
  EXPECT_EQ(counts.of(IoOp::read).requests, 17u);
  EXPECT_EQ(counts.of(IoOp::read).bytes, 17u * 4096);
  EXPECT_EQ(counts.of(IoOp::flush).requests, 1u);
  EXPECT_EQ(counts.failed, 0u);
  for (const Device* device : {static_cast<const Device*>(&outer), static_cast<const Device*>(below.get())})
    for (const IoCounts::Count& count : device->counts().by_op) EXPECT_EQ(count.requests, 0u);
}

// A request that finds no memory fails, and the queue it went through does not.
TEST(NoMemory, IsTheOutcomeOfTheRequest) {
  auto memory = MemoryDevice::create(1 << 20).value();
  FaultyDevice device(*memory, {.before = [](const IoRequest&) { throw std::bad_alloc(); }});
  EXPECT_TRUE(device.write(0, pattern(512, 1)).error().is(err::no_memory));
  for (auto& queue : {make_queue(), make_inline_queue()}) {
    IoRequest flush{.op = IoOp::flush};
    queue->submit(device, flush);
    ASSERT_EQ(queue->reap(), &flush);
    EXPECT_TRUE(flush.outcome->error().is(err::no_memory));
  }
}

TEST(OpenDevice, UnderstandsPathsAndMemory) {
  testing_kinds::TemporaryFile file(8192);
  EXPECT_EQ(open_device(file.path(), OpenMode::read_only).value()->size(), 8192u);
  EXPECT_EQ(open_device("file:" + file.path(), OpenMode::read_only).value()->size(), 8192u);
  EXPECT_EQ(open_device("mem:4G", OpenMode::read_write).value()->size(), 4ull << 30);
}

TEST(OpenDevice, NamesWhatItCannotOpen) {
  for (const char* spec : {"rbd:pool/image", "nbd+unix:///?socket=/x", "nbd://localhost:1"}) {
    const auto result = open_device(spec, OpenMode::read_only);
    ASSERT_FALSE(result);
    EXPECT_NE(result.error().message().find(spec), std::string::npos);
  }
}

TEST(OpenDevice, ReadsTheNamesOfCephsImages) {
  for (const char* spec : {"rbd:pool", "rbd:/image", "rbd:pool/", "rbd:a/b/c/d", "rbd:pool/image:size=1"})
    EXPECT_TRUE(open_device(spec, OpenMode::read_only).error().is(err::invalid)) << spec;
  EXPECT_EQ(parse_rbd("rbd:vms/a,b").value(), (QemuOptions{{"pool", "vms"}, {"image", "a,b"}}));
  EXPECT_EQ(parse_rbd("rbd:vms/lab/disk@monday:id=karst:conf=/etc/c.conf").value(),
            (QemuOptions{{"pool", "vms"},
                         {"image", "disk"},
                         {"namespace", "lab"},
                         {"snapshot", "monday"},
                         {"user", "karst"},
                         {"conf", "/etc/c.conf"}}));
}

TEST(OpenDevice, TellsFilesFromOtherDevices) {
  EXPECT_EQ(path_of("/dev/sdb"), "/dev/sdb");
  EXPECT_EQ(path_of("file:nbd:x"), "nbd:x");
  for (const char* spec : {"mem:4G", "nbd://host", "nbds+unix:///?socket=x", "rbd:pool/image"})
    EXPECT_FALSE(path_of(spec)) << spec;
}

TEST(ParseSize, AcceptsPowersOf1024AndRefusesTheRest) {
  EXPECT_EQ(parse_size("0").value(), 0u);
  EXPECT_EQ(parse_size("4096").value(), 4096u);
  EXPECT_EQ(parse_size("64K").value(), 65536u);
  EXPECT_EQ(parse_size("3t").value(), 3ull << 40);
  for (const char* text : {"", "K", "-1", "4KB", "4 K", "99999999T", "18446744073709551616", "1.5G"})
    EXPECT_FALSE(parse_size(text)) << text;
}

}  // namespace
}  // namespace karst::block

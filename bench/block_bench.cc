// Reads of a page-cached file through the device and its queue, against bare pread(). The ratio to pread of
// the same size is what counts.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <unistd.h>

#include <vector>

#include "block/device_test_kinds.h"

namespace karst::block {
namespace {

constexpr uint64_t file_size = 64 << 20;

const std::string& cached_file() {
  static testing_kinds::TemporaryFile file(file_size);
  static const bool written = [] {
    auto device = FileDevice::open(file.path(), OpenMode::read_write).value();
    const std::vector<std::byte> bytes(1 << 20, std::byte{0x5a});
    for (uint64_t offset = 0; offset < file_size; offset += bytes.size())
      std::ignore = device->write(offset, bytes);
    return true;
  }();
  static_cast<void>(written);
  return file.path();
}

uint64_t next_offset(uint64_t& state, uint64_t length) {
  state = state * 6364136223846793005 + 1442695040888963407;
  return (state >> 33) % (file_size / length) * length;
}

void Pread(benchmark::State& state) {
  const auto length = static_cast<size_t>(state.range(0));
  const int fd = ::open(cached_file().c_str(), O_RDONLY | O_CLOEXEC);
  std::vector<std::byte> bytes(length);
  uint64_t random = 1;
  for (auto _ : state)
    benchmark::DoNotOptimize(
        ::pread(fd, bytes.data(), length, static_cast<off_t>(next_offset(random, length))));
  ::close(fd);
}

void DeviceRead(benchmark::State& state) {
  const auto length = static_cast<size_t>(state.range(0));
  const auto device = FileDevice::open(cached_file(), OpenMode::read_only).value();
  std::vector<std::byte> bytes(length);
  uint64_t random = 1;
  for (auto _ : state) std::ignore = device->read(next_offset(random, length), bytes);
}

// `depth` requests in flight all the time; each step reaps one and submits one.
void QueueRead(benchmark::State& state) {
  const auto length = static_cast<size_t>(state.range(0));
  const auto depth = static_cast<size_t>(state.range(1));
  const auto device = FileDevice::open(cached_file(), OpenMode::read_only).value();
  struct Slot {
    std::vector<std::byte> bytes;
    iovec buffer{};
    IoRequest request{};
  };
  std::vector<Slot> slots(depth);
  const auto queue = make_queue(static_cast<unsigned>(depth));
  uint64_t random = 1;
  const auto submit = [&](Slot& slot) {
    slot.buffer = {slot.bytes.data(), length};
    slot.request = {IoOp::read, IoFlags::none, next_offset(random, length), length, {&slot.buffer, 1}, &slot};
    queue->submit(*device, slot.request);
  };
  for (Slot& slot : slots) {
    slot.bytes.resize(length);
    submit(slot);
  }
  for (auto _ : state) submit(*static_cast<Slot*>(queue->reap()->owner));
}

BENCHMARK(Pread)->Arg(4096)->Arg(131072);
BENCHMARK(DeviceRead)->Arg(4096)->Arg(131072);
BENCHMARK(QueueRead)->ArgsProduct({{4096, 131072}, {1, 32}});

}  // namespace
}  // namespace karst::block

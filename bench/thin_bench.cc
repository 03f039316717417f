// Random 4 KiB reads of mapped blocks through the library, against the same reads of the bare file below:
// what a lookup costs (TH-052, TH-053). Both on one file in $TMPDIR, which should be in memory.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <random>

#include "block/file_device.h"
#include "block/queue.h"
#include "thin/pool/volume.h"

namespace {

using namespace karst;

constexpr uint64_t size = 128 << 20, block = 64 << 10, piece = 4096;

std::string scratch(const char* name) {
  const char* directory = std::getenv("TMPDIR");
  return std::string(directory != nullptr ? directory : "/tmp") + "/karst-thin-bench-" + name;
}

// A pool whose one volume is mapped whole, with snapshots of it besides.
class Pool {
 public:
  explicit Pool(unsigned snapshots) {
    metadata_ = block::FileDevice::create(scratch("metadata"), 64 << 20).value();
    data = block::FileDevice::create(scratch("data"), size + (64 << 20)).value();
    pool_ = thin::Pool::open(*metadata_, *data, cache_, block / thin::sector_size, {}).value();
    pool_->create_thin(0).value();
    volume = pool_->open_volume(0, size).value();
    const std::vector<std::byte> bytes(1 << 20, std::byte{7});
    for (uint64_t at = 0; at < size; at += bytes.size()) volume->write(at, bytes).value();
    for (unsigned i = 1; i <= snapshots; ++i) pool_->create_snap(i, 0).value();
    // Lookups that have to be made once.
    std::vector<std::byte> found(1);
    for (uint64_t at = 0; at < size; at += block) volume->read(at, found).value();
  }
  ~Pool() {
    volume.reset();
    pool_.reset();
    std::remove(scratch("metadata").c_str());
    std::remove(scratch("data").c_str());
  }
  uint64_t wake_ups() const { return pool_->wake_ups(); }

  std::unique_ptr<block::Device> data;
  thin::VolumeRef volume;

 private:
  std::unique_ptr<block::Device> metadata_;
  cache::Cache cache_{{.limit = 64 << 20}};
  thin::PoolRef pool_;
};

// Keeps `depth` random reads in flight.
void read_randomly(benchmark::State& state, block::Device& device, unsigned depth) {
  const auto queue = block::make_queue(depth);
  std::mt19937_64 random(1);
  std::vector<std::byte> memory(depth * piece);
  struct Slot {
    iovec buffer{};
    block::IoRequest request;
  };
  std::vector<Slot> slots(depth);
  const auto submit = [&](Slot& slot) {
    slot.request = {.op = block::IoOp::read,
                    .offset = random() % (size / piece) * piece,
                    .length = piece,
                    .buffers = {&slot.buffer, 1},
                    .owner = &slot};
    queue->submit(device, slot.request);
  };
  for (unsigned i = 0; i < depth; ++i) slots[i].buffer = {memory.data() + i * piece, piece};
  for (auto _ : state) {
    for (Slot& slot : slots) submit(slot);
    for (unsigned done = 0; done < depth; ++done) {
      block::IoRequest* request = queue->reap();
      request->outcome->value();
    }
  }
  state.SetItemsProcessed(state.iterations() * depth);
}

void bare_file(benchmark::State& state) {
  const Pool pool(0);
  read_randomly(state, *pool.data, static_cast<unsigned>(state.range(0)));
}

void volume(benchmark::State& state) {
  const Pool pool(0);
  read_randomly(state, *pool.volume, static_cast<unsigned>(state.range(0)));
  state.counters["wake_ups"] = static_cast<double>(pool.wake_ups());
}

void volume_with_100_snapshots(benchmark::State& state) {
  const Pool pool(100);
  read_randomly(state, *pool.volume, static_cast<unsigned>(state.range(0)));
}

BENCHMARK(bare_file)->Arg(1)->Arg(128);
BENCHMARK(volume)->Arg(1)->Arg(128);
BENCHMARK(volume_with_100_snapshots)->Arg(128);

}  // namespace

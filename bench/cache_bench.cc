// The folio cache's hot paths. Ratios to the uncontended hit are what counts, not the times.
#include <benchmark/benchmark.h>

#include <random>

#include "cache/cache.h"

namespace karst::cache {
namespace {

constexpr uint32_t folio_size = 16384;

Cache& cache_of(size_t folios) {
  static Cache cache({.limit = 256 << 20});
  static const ObjectId object = cache.new_object();
  for (uint64_t index = 0; index < folios; ++index) {
    const auto fill = [&](MutableBytes) -> Result<void> { return {}; };
    std::ignore = cache.get({object, index}, folio_size, Residence::always_mapped, fill);
  }
  return cache;
}
constexpr ObjectId first_object{1};

// find() and the release of its reference, over a working set; with threads, on the same folios.
void Hit(benchmark::State& state) {
  const auto folios = static_cast<uint64_t>(state.range(0));
  Cache& cache = cache_of(folios);
  uint64_t index = static_cast<uint64_t>(state.thread_index()) * 7919;
  for (auto _ : state) {
    index = (index * 5 + 1) % folios;
    FolioRef folio = cache.find({first_object, index});
    benchmark::DoNotOptimize(folio);
  }
}
BENCHMARK(Hit)->Arg(64)->Arg(8192)->ThreadRange(1, 4)->UseRealTime();

void HitByGet(benchmark::State& state) {
  Cache& cache = cache_of(64);
  uint64_t index = 0;
  const auto fill = [](MutableBytes) -> Result<void> { return Error(err::io, "not there"); };
  for (auto _ : state) {
    index = (index * 5 + 1) % 64;
    auto folio = cache.get({first_object, index}, folio_size, Residence::always_mapped, fill);
    benchmark::DoNotOptimize(folio);
  }
}
BENCHMARK(HitByGet);

void CopyReference(benchmark::State& state) {
  const FolioRef folio = cache_of(64).find({first_object, 1});
  for (auto _ : state) {
    FolioRef copy = folio;
    benchmark::DoNotOptimize(copy);
  }
}
BENCHMARK(CopyReference);

void MapAndUnmap(benchmark::State& state) {
  const FolioRef folio = cache_of(64).find({first_object, 1});
  for (auto _ : state) {
    const Mapping mapping(folio);
    benchmark::DoNotOptimize(mapping.bytes().data());
  }
}
BENCHMARK(MapAndUnmap);

// A miss in a full cache: evicts one, fills one; the fill does nothing.
void MissAndEvict(benchmark::State& state) {
  Cache cache({.limit = 32 << 20});
  const ObjectId object = cache.new_object();
  const auto size = static_cast<uint32_t>(state.range(0));
  const auto fill = [](MutableBytes) -> Result<void> { return {}; };
  uint64_t index = 0;
  for (; index < (64 << 20) / size; ++index)
    std::ignore = cache.get({object, index}, size, Residence::on_demand, fill);
  for (auto _ : state) std::ignore = cache.get({object, index++}, size, Residence::on_demand, fill);
}
BENCHMARK(MissAndEvict)->Arg(4096)->Arg(16384)->Arg(131072);

void MarkDirtyAgain(benchmark::State& state) {
  struct Sink : ObjectOwner {
    Result<void> write_back(ObjectId, std::span<const FolioRef>) override { return {}; }
  } sink;
  Cache cache;
  const ObjectId object = cache.new_object(sink);
  const auto fill = [](MutableBytes) -> Result<void> { return {}; };
  {
    const FolioRef folio = cache.get({object, 0}, folio_size, Residence::always_mapped, fill).value();
    for (auto _ : state) benchmark::DoNotOptimize(cache.mark_dirty(folio));
  }
  cache.remove_object(object);
}
BENCHMARK(MarkDirtyAgain);

// Hit rates of a skewed working set with and without a scan beside it, to compare policies.
void HitRateUnderScan(benchmark::State& state) {
  const bool scans = state.range(0) != 0;
  double rate = 0;
  for (auto _ : state) {
    Cache cache({.limit = 16 << 20});
    const ObjectId hot = cache.new_object();
    const ObjectId scanned = cache.new_object();
    const auto fill = [](MutableBytes) -> Result<void> { return {}; };
    std::mt19937_64 random(1);
    std::exponential_distribution<double> skew(1.0 / 800);
    uint64_t hits = 0, total = 0;
    for (uint64_t step = 0; step < 200000; ++step) {
      const auto index = static_cast<uint64_t>(skew(random));
      hits += cache.find({hot, index}) ? 1u : 0u;
      ++total;
      std::ignore = cache.get({hot, index}, 4096, Residence::on_demand, fill);
      if (scans) std::ignore = cache.get({scanned, step}, 4096, Residence::on_demand, fill);
    }
    rate = static_cast<double>(hits) / static_cast<double>(total);
  }
  state.counters["hit_rate"] = rate;
}
BENCHMARK(HitRateUnderScan)->Arg(0)->Arg(1)->Unit(benchmark::kMillisecond)->Iterations(1);

}  // namespace
}  // namespace karst::cache

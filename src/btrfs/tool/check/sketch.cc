#include "btrfs/tool/check/sketch.h"

#include <cstring>
#include <random>

namespace karst::btrfs::check {

void SketchKey::fill(const std::function<uint64_t()>& source) {
  for (uint64_t& word : key_) word = source() | 1;
  for (uint64_t& word : kinds_) word = source();
}

SketchKey SketchKey::random() {
  std::random_device source;
  SketchKey key;
  key.fill([&] { return uint64_t{source()} << 32 | source(); });
  return key;
}

SketchKey SketchKey::from_seed(uint64_t seed) {
  std::mt19937_64 source(seed);
  SketchKey key;
  key.fill([&] { return source(); });
  return key;
}

uint64_t SketchKey::hash_name(std::string_view name) const {
  uint64_t state = key_[7] ^ name.size();
  while (name.size() > 8) {
    uint64_t word;
    std::memcpy(&word, name.data(), 8);
    state = mix(state ^ word, key_[2]);
    name.remove_prefix(8);
  }
  uint64_t word = 0;
  std::memcpy(&word, name.data(), name.size());
  return mix(state ^ word, key_[3]);
}

void BucketSketch::add(const BucketSketch& other) {
  for (uint32_t i = 0; i < buckets; ++i) sums_[i].add(other.sums_[i]);
}

BucketSketch::Dirty BucketSketch::dirty() const {
  Dirty dirty{std::vector<bool>(buckets), 0};
  for (uint32_t i = 0; i < buckets; ++i) {
    if (sums_[i].is_zero()) continue;
    dirty.flags[i] = true;
    ++dirty.count;
  }
  return dirty;
}

}  // namespace karst::btrfs::check

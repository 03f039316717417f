// Sets of subvolumes, each kept once and known by a number. Not thread-safe.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <vector>

namespace karst::btrfs::check {

class RootSets {
 public:
  using Id = uint32_t;
  static constexpr Id none = 0;  // the empty set

  RootSets() : sets_{&index_.emplace(std::vector<uint64_t>{}, none).first->first} {}
  RootSets(const RootSets&) = delete;
  RootSets& operator=(const RootSets&) = delete;

  Id of(uint64_t root) { return intern({root}); }
  Id joined(Id a, Id b);
  const std::vector<uint64_t>& members(Id id) const { return *sets_[id]; }  // ascending
  size_t size() const { return sets_.size(); }

 private:
  Id intern(std::vector<uint64_t> members);
  std::map<std::vector<uint64_t>, Id> index_;
  std::vector<const std::vector<uint64_t>*> sets_;  // keys of index_
  std::unordered_map<uint64_t, Id> unions_;         // (smaller, larger) to their union
};

}  // namespace karst::btrfs::check

#include "btrfs/tool/check/root_sets.h"

#include <algorithm>
#include <iterator>

namespace karst::btrfs::check {

RootSets::Id RootSets::intern(std::vector<uint64_t> members) {
  auto [place, is_new] = index_.emplace(std::move(members), static_cast<Id>(sets_.size()));
  if (is_new) sets_.push_back(&place->first);
  return place->second;
}

RootSets::Id RootSets::joined(Id a, Id b) {
  if (a == b || b == none) return a;
  if (a == none) return b;
  uint64_t pair = uint64_t{std::min(a, b)} << 32 | std::max(a, b);
  auto known = unions_.find(pair);
  if (known != unions_.end()) return known->second;
  std::vector<uint64_t> all;
  std::set_union(members(a).begin(), members(a).end(), members(b).begin(), members(b).end(),
                 std::back_inserter(all));
  Id id = intern(std::move(all));
  unions_.emplace(pair, id);
  return id;
}

}  // namespace karst::btrfs::check

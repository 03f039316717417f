#include "btrfs/tree/damage.h"

#include <algorithm>

namespace karst::btrfs {
namespace {

// The range that holds `key`, or the end.
template <typename Ranges>
auto range_with(Ranges& ranges, const Key& key) {
  auto after = ranges.upper_bound(key);
  if (after == ranges.begin() || std::prev(after)->second < key) return ranges.end();
  return std::prev(after);
}

template <typename Ranges>
bool has_any_of(Ranges& ranges, const Key& first, const Key& last) {
  if (range_with(ranges, first) != ranges.end()) return true;
  auto next = ranges.lower_bound(first);
  return next != ranges.end() && next->first <= last;
}

}  // namespace

void Damage::tell_locked(const LostBlock& lost) {
  ++block_count_;
  if (blocks_.size() < blocks_max) blocks_.push_back(lost);
}

void Damage::add(const LostBlock& lost) {
  MutexLock lock(mutex_);
  Ranges& ranges = trees_[lost.tree];
  if (auto known = range_with(ranges, lost.first); known != ranges.end() && known->second >= lost.last)
    return;
  merge_locked(ranges, lost.first, lost.last);
  tell_locked(lost);
}

void Damage::set_substitute(uint64_t bytenr, Substitute substitute) {
  MutexLock lock(mutex_);
  substitutes_[bytenr] = {std::make_shared<const std::vector<std::byte>>(std::move(substitute.node)),
                          std::move(substitute.gaps),
                          std::move(substitute.doubts),
                          {}};
}

std::shared_ptr<const std::vector<std::byte>> Damage::use_substitute(const LostBlock& lost) {
  MutexLock lock(mutex_);
  auto found = substitutes_.find(lost.bytenr);
  if (found == substitutes_.end()) return nullptr;
  Stored& stored = found->second;
  if (!stored.used_by.insert(lost.tree).second) return stored.node;
  Ranges& ranges = trees_[lost.tree];
  for (const auto& [first, last] : stored.gaps)
    if (first <= last) merge_locked(ranges, first, last);
  for (const auto& [first, last] : stored.doubts) merge_locked(doubts_[lost.tree], first, last);
  LostBlock told = lost;
  told.rebuilt = true;
  tell_locked(told);
  return stored.node;
}

void Damage::merge_locked(Ranges& ranges, Key first, Key last) {
  auto at = ranges.upper_bound(first);
  const bool full = range_count_ >= ranges_max;
  // The range before touches this one, or has to take it in.
  if (at != ranges.begin() && (full || std::prev(at)->second.successor() >= first)) {
    --at;
    first = at->first;
    last = std::max(last, at->second);
  }
  while (at != ranges.end() && at->first <= last.successor()) {
    last = std::max(last, at->second);
    at = ranges.erase(at);
    --range_count_;
  }
  ranges.emplace_hint(at, first, last);
  ++range_count_;
}

bool Damage::touches(uint64_t tree, const Key& first, const Key& last) const {
  MutexLock lock(mutex_);
  auto found = trees_.find(tree);
  return found != trees_.end() && has_any_of(found->second, first, last);
}

void Damage::doubt(uint64_t tree, const Key& first, const Key& last) {
  MutexLock lock(mutex_);
  merge_locked(doubts_[tree], first, last);
}

bool Damage::is_doubtful(uint64_t tree, const Key& first, const Key& last) const {
  MutexLock lock(mutex_);
  auto found = doubts_.find(tree);
  return found != doubts_.end() && has_any_of(found->second, first, last);
}

std::vector<std::pair<Key, Key>> Damage::doubts(uint64_t tree) const {
  MutexLock lock(mutex_);
  auto found = doubts_.find(tree);
  if (found == doubts_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

bool Damage::covers(uint64_t tree, const Key& first, const Key& last) const {
  MutexLock lock(mutex_);
  auto found = trees_.find(tree);
  if (found == trees_.end()) return false;
  auto range = range_with(found->second, first);
  return range != found->second.end() && range->second >= last;
}

bool Damage::any(uint64_t tree) const {
  MutexLock lock(mutex_);
  auto found = trees_.find(tree);
  return found != trees_.end() && !found->second.empty();
}

std::vector<std::pair<Key, Key>> Damage::ranges(uint64_t tree) const {
  MutexLock lock(mutex_);
  auto found = trees_.find(tree);
  if (found == trees_.end()) return {};
  return {found->second.begin(), found->second.end()};
}

bool Damage::any_of(FunctionRef<bool(uint64_t tree)> wanted) const {
  MutexLock lock(mutex_);
  return std::any_of(trees_.begin(), trees_.end(),
                     [&](const auto& tree) { return !tree.second.empty() && wanted(tree.first); });
}

std::vector<LostBlock> Damage::blocks() const {
  MutexLock lock(mutex_);
  return blocks_;
}

uint64_t Damage::block_count() const {
  MutexLock lock(mutex_);
  return block_count_;
}

}  // namespace karst::btrfs

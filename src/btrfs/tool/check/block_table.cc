#include "btrfs/tool/check/block_table.h"

#include <algorithm>

namespace karst::btrfs::check {

BlockTable::BlockTable() {
  for (auto& shard : shards_) shard = std::make_unique<Shard>();
}

void BlockTable::Shard::grow() {
  std::vector<Entry> old(std::max<size_t>(64, entries.size() * 2));
  old.swap(entries);
  used = 0;
  for (Entry& entry : old)
    if (entry.bytenr != 0) locate(entry.bytenr) = entry;
}

BlockTable::Entry& BlockTable::Shard::locate(uint64_t bytenr) {
  if ((used + 1) * 4 > entries.size() * 3) grow();
  size_t mask = entries.size() - 1;
  for (size_t at = (spread(bytenr) >> 24) & mask;; at = (at + 1) & mask) {
    Entry& entry = entries[at];
    if (entry.bytenr == bytenr) return entry;
    if (entry.bytenr != 0) continue;
    entry.bytenr = bytenr;
    ++used;
    return entry;
  }
}

const BlockTable::Entry* BlockTable::Shard::look_up(uint64_t bytenr) const {
  if (entries.empty()) return nullptr;
  size_t mask = entries.size() - 1;
  for (size_t at = (spread(bytenr) >> 24) & mask;; at = (at + 1) & mask) {
    const Entry& entry = entries[at];
    if (entry.bytenr == bytenr) return &entry;
    if (entry.bytenr == 0) return nullptr;
  }
}

bool BlockTable::claim(uint64_t bytenr) {
  if (bytenr == 0) return false;
  Shard& shard = shard_of(bytenr);
  MutexLock lock(shard.mutex);
  Entry& entry = shard.locate(bytenr);
  if (entry.scan == scan_) return false;
  entry.scan = scan_;
  return true;
}

void BlockTable::update(uint64_t bytenr, FunctionRef<void(BlockFacts&)> change) {
  if (bytenr == 0) return;
  Shard& shard = shard_of(bytenr);
  MutexLock lock(shard.mutex);
  change(shard.locate(bytenr).facts);
}

BlockFacts BlockTable::find(uint64_t bytenr) const {
  const Shard& shard = shard_of(bytenr);
  MutexLock lock(shard.mutex);
  const Entry* entry = shard.look_up(bytenr);
  return entry ? entry->facts : BlockFacts{};
}

std::vector<uint64_t> BlockTable::file_nodes(uint8_t level) const {
  std::vector<uint64_t> nodes;
  for (const auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    for (const Entry& entry : shard->entries)
      if (entry.bytenr != 0 && entry.facts.holds_files && entry.facts.good && entry.facts.level == level)
        nodes.push_back(entry.bytenr);
  }
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

size_t BlockTable::size() const {
  size_t size = 0;
  for (const auto& shard : shards_) {
    MutexLock lock(shard->mutex);
    size += shard->used;
  }
  return size;
}

}  // namespace karst::btrfs::check

#include "btrfs/tool/check/block_table.h"

#include <algorithm>

namespace karst::btrfs::check {

BlockTable::BlockTable() {
  for (auto& shard : shards_) shard = std::make_unique<Shard>();
}

size_t BlockTable::Shard::place_of(uint64_t bytenr) const {
  // The upper bits choose the shard, the middle ones the place: as a fraction of the table's size.
  size_t at = ((spread(bytenr) << 6) >> 32) * entries.size() >> 32;
  while (entries[at].bytenr != bytenr && entries[at].bytenr != 0) at = at + 1 == entries.size() ? 0 : at + 1;
  return at;
}

void BlockTable::Shard::grow() {
  std::vector<Entry> old(std::max<size_t>(64, entries.size() + entries.size() / 4));
  old.swap(entries);
  for (const Entry& entry : old)
    if (entry.bytenr != 0) entries[place_of(entry.bytenr)] = entry;
}

BlockTable::Entry& BlockTable::Shard::locate(uint64_t bytenr) {
  if ((used + 1) * 4 > entries.size() * 3) grow();
  Entry& entry = entries[place_of(bytenr)];
  used += entry.bytenr == 0;
  entry.bytenr = bytenr;
  return entry;
}

bool BlockTable::claim(uint64_t bytenr) {
  if (bytenr == 0) return false;
  Shard& shard = shard_of(bytenr);
  MutexLock lock(shard.mutex);
  BlockFacts& facts = shard.locate(bytenr).facts;
  if (facts.scan == scan_) return false;
  facts.scan = scan_;
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
  return bytenr == 0 || shard.entries.empty() ? BlockFacts{} : shard.entries[shard.place_of(bytenr)].facts;
}

void BlockTable::for_each(size_t shard, FunctionRef<void(uint64_t, const BlockFacts&)> visit) const {
  MutexLock lock(shards_[shard]->mutex);
  for (const Entry& entry : shards_[shard]->entries)
    if (entry.bytenr != 0) visit(entry.bytenr, entry.facts);
}

std::vector<uint64_t> BlockTable::file_nodes(uint8_t level) const {
  std::vector<uint64_t> nodes;
  for (size_t shard = 0; shard < shard_count; ++shard)
    for_each(shard, [&](uint64_t bytenr, const BlockFacts& facts) {
      if (facts.holds_files && facts.good && facts.level == level) nodes.push_back(bytenr);
    });
  std::sort(nodes.begin(), nodes.end());
  return nodes;
}

}  // namespace karst::btrfs::check

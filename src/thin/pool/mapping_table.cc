#include "thin/pool/mapping_table.h"

#include <algorithm>

namespace karst::thin {
namespace {

// No mapping has these: they would be the last blocks of a device of 2^40.
constexpr uint64_t nothing_known = ~uint64_t{0};
constexpr uint64_t not_mapped = nothing_known - 1;

}  // namespace

MappingTable::Page::Page() {
  for (auto& entry : entries) entry.store(nothing_known, std::memory_order_relaxed);
}

MappingTable::MappingTable(uint64_t blocks, PageBudget& budget)
    : blocks_(blocks),
      budget_(budget),
      pages_(std::make_unique<std::atomic<Page*>[]>(blocks / page_entries + 1)) {}

MappingTable::~MappingTable() {
  for (uint64_t i = 0; i <= blocks_ / page_entries; ++i) {
    const std::unique_ptr<Page> page(pages_[i].load());
    if (page) budget_.give();
  }
}

MappingTable::Entry MappingTable::find(VirtualBlock block) const {
  const Page* page = slot(block).load(std::memory_order_acquire);
  if (page == nullptr) return {};
  const uint64_t packed = page->entries[raw(block) % page_entries].load(std::memory_order_acquire);
  if (packed == nothing_known) return {};
  if (packed == not_mapped) return {Known::unmapped, {}};
  return {Known::mapped, Mapping::unpack(packed)};
}

MappingTable::Range MappingTable::make_page(VirtualBlock block) {
  MutexLock lock(mutex_);
  std::atomic<Page*>& place = slot(block);
  if (place.load(std::memory_order_relaxed) == nullptr && budget_.take())
    place.store(new Page, std::memory_order_release);
  const uint64_t from = raw(block) / page_entries * page_entries;
  return {VirtualBlock{from}, VirtualBlock{std::min(from + page_entries, blocks_)}};
}

void MappingTable::mapped(VirtualBlock block, Mapping mapping) {
  if (raw(block) >= blocks_) return;
  if (Page* page = slot(block).load(std::memory_order_acquire))
    page->entries[raw(block) % page_entries].store(mapping.pack(), std::memory_order_release);
}

void MappingTable::unmapped(VirtualBlock from, VirtualBlock to) {
  const uint64_t end = std::min(raw(to), blocks_);
  for (uint64_t at = raw(from); at < end;) {
    const uint64_t next = std::min((at / page_entries + 1) * page_entries, end);
    if (Page* page = slot(VirtualBlock{at}).load(std::memory_order_acquire))
      for (; at < next; ++at) page->entries[at % page_entries].store(not_mapped, std::memory_order_release);
    at = next;
  }
}

void MappingTable::forget_all() {
  for (uint64_t i = 0; i <= blocks_ / page_entries; ++i)
    if (Page* page = pages_[i].load(std::memory_order_acquire))
      for (auto& entry : page->entries) entry.store(nothing_known, std::memory_order_release);
}

MappingTable::Pages MappingTable::take_pages() {
  MutexLock lock(mutex_);
  Pages taken;
  const uint64_t places = blocks_ / page_entries + 1;
  // Every other page, the next time the others.
  for (uint64_t i = 0; i < places; ++i) {
    const uint64_t at = (hand_ + i) % places;
    Page* page = pages_[at].load(std::memory_order_relaxed);
    if (page == nullptr || i % 2 != 0) continue;
    pages_[at].store(nullptr, std::memory_order_release);
    taken.emplace_back(page);
    budget_.give();
  }
  ++hand_;
  return taken;
}

}  // namespace karst::thin

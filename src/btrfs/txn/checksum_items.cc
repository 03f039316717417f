#include "btrfs/txn/checksum_items.h"

namespace karst::btrfs {
namespace {

constexpr Key checksum_key(uint64_t logical) { return {id::extent_csum, ItemType::extent_csum, logical}; }

bool is_checksums(const std::optional<StoredItem>& item) {
  return item && item->key.objectid == id::extent_csum && item->key.type == ItemType::extent_csum;
}

// An item's range of addresses, and its bytes, copied.
struct Run {
  uint64_t start = 0, end = 0;
  std::vector<std::byte> sums;

  Bytes part(uint64_t from, uint64_t to, const Geometry& geometry) const {
    uint64_t size = geometry.checksum_size, sector = geometry.sectorsize;
    return Bytes(sums).subspan((from - start) / sector * size, (to - from) / sector * size);
  }
};

Run run_of(const StoredItem& item, const Geometry& geometry) {
  uint64_t sectors = item.data.size() / geometry.checksum_size;
  return {
      item.key.offset, item.key.offset + sectors * geometry.sectorsize, {item.data.begin(), item.data.end()}};
}

// The first item that has checksums at or after `start`.
Result<std::optional<Run>> run_from(ItemReader& items, uint64_t start, const Geometry& geometry) {
  auto before = TRY(items.seek_back(checksum_key(start)));
  if (is_checksums(before)) {
    Run run = run_of(*before, geometry);
    if (run.end > start) return std::optional(std::move(run));
  }
  auto after = TRY(items.seek(checksum_key(start)));
  if (!is_checksums(after)) return std::optional<Run>();
  return std::optional(run_of(*after, geometry));
}

}  // namespace

Result<void> erase_checksums(ItemStore& items, uint64_t start, uint64_t end, const Geometry& geometry) {
  for (;;) {
    auto run = TRY(run_from(items, start, geometry));
    if (!run || run->start >= end) return {};
    if (run->start < start)
      TRY(items.replace(checksum_key(run->start), run->part(run->start, start, geometry)));
    else
      TRY(items.erase(checksum_key(run->start)));
    if (run->end > end) {
      TRY(items.insert(checksum_key(end), run->part(end, run->end, geometry)));
      return {};
    }
    start = run->end;
    if (start >= end) return {};
  }
}

Result<void> copy_checksums(ItemReader& from, ItemStore& items, uint64_t start, uint64_t end,
                            const Geometry& geometry) {
  while (start < end) {
    auto run = TRY(run_from(from, start, geometry));
    if (!run || run->start >= end) return {};
    uint64_t first = std::max(run->start, start), last = std::min(run->end, end);
    TRY(erase_checksums(items, first, last, geometry));
    TRY(items.insert(checksum_key(first), run->part(first, last, geometry)));
    start = last;
  }
  return {};
}

}  // namespace karst::btrfs

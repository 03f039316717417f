// The free space cache of version 1: a file in the root tree for each block group.
// Source of the layout: Linux fs/btrfs/free-space-cache.c, struct btrfs_io_ctl, btrfs_free_space_entry.
#include <algorithm>
#include <cstring>

#include "btrfs/format/extent.h"
#include "btrfs/format/inode.h"
#include "btrfs/tool/check/free_space.h"
#include "core/checksum.h"

namespace karst::btrfs::check {
namespace {

constexpr uint32_t page_size = 4096;
constexpr uint64_t cache_bytes_max = 64 << 20;  // more than any block group's cache needs

struct FreeSpaceEntry {
  le64 offset;
  le64 bytes;
  uint8_t type;
};
static_assert(sizeof(FreeSpaceEntry) == 17 && Overlay<FreeSpaceEntry>);
constexpr uint8_t entry_extent = 1;  // otherwise a bitmap, 2

// Ranges that were read at once.
class CachedRanges final : public FreeSpaceSource {
 public:
  CachedRanges(std::vector<Range> ranges, std::optional<std::string> fault)
      : ranges_(std::move(ranges)), fault_(std::move(fault)) {}
  std::optional<Range> next() override {
    if (at_ == ranges_.size()) return std::nullopt;
    return ranges_[at_++];
  }
  std::optional<std::string> fault() override { return fault_; }
  bool incomplete() const override { return false; }

 private:
  std::vector<Range> ranges_;
  std::optional<std::string> fault_;
  size_t at_ = 0;
};

// The cache file's bytes, from extents of the root tree; nothing if they cannot be read.
std::optional<std::vector<std::byte>> read_cache_file(State& state, uint64_t inode, uint64_t size) {
  std::vector<std::byte> bytes(size);
  ItemStream items(state.blocks(), state.fs.root_tree().root, {inode, ItemType::extent_data, 0},
                   {inode, ItemType::extent_data, ~0ull});
  uint64_t at = 0;
  while (items.next()) {
    const auto* extent = items.as<FileExtent>();
    if (!extent || items.key().offset != at || extent->head.type == 0 || extent->head.compression != 0)
      return std::nullopt;
    uint64_t length = std::min<uint64_t>(extent->num_bytes, size - at);
    uint64_t from = extent->disk_bytenr + extent->offset;
    if (!state.fs.volume().read_copy(Logical(from), MutableBytes(bytes).subspan(at, length), 0))
      return std::nullopt;
    at += length;
    if (at == size) return bytes;
  }
  return std::nullopt;
}

class CacheParser {
 public:
  CacheParser(uint32_t sectorsize, Bytes file, const FreeSpaceHeader& header)
      : sectorsize_(sectorsize), file_(file), header_(header) {}

  // False if the file is not what the header says: such a cache is never used.
  bool parse() {
    uint64_t pages = file_.size() / page_size, crcs = pages * sizeof(le32);
    if (pages == 0 || crcs + sizeof(le64) > page_size) return false;
    for (uint64_t page = 0; page < pages; ++page)
      if (!page_is_good(page, crcs)) return false;
    if (*overlay<le64>(file_, crcs) != header_.generation) return false;
    at_ = crcs + sizeof(le64);
    std::vector<Range> bitmaps;
    for (uint64_t i = 0; i < header_.num_entries; ++i) {
      if (page_size - at_ % page_size < sizeof(FreeSpaceEntry)) at_ = (at_ / page_size + 1) * page_size;
      const auto* entry = overlay<FreeSpaceEntry>(file_, at_);
      if (!entry || entry->bytes == 0) return false;
      at_ += sizeof(FreeSpaceEntry);
      if (entry->type == entry_extent)
        ranges.push_back({entry->offset, entry->offset + entry->bytes});
      else
        bitmaps.push_back({entry->offset, 0});
    }
    for (const Range& bitmap : bitmaps) {
      at_ = (at_ + page_size - 1) / page_size * page_size;
      auto bits = slice(file_, at_, page_size);
      if (!bits) return false;
      add_bitmap(bitmap.start, *bits);
      at_ += page_size;
    }
    join();
    return true;
  }
  std::vector<Range> ranges;

 private:
  bool page_is_good(uint64_t page, uint64_t crcs) const {
    uint64_t skip = page == 0 ? crcs : 0;
    uint32_t crc = ~crc32c(~0u, file_.subspan(page * page_size + skip, page_size - skip));
    return crc == *overlay<le32>(file_, page * sizeof(le32));
  }
  void add_bitmap(uint64_t start, Bytes bits) {
    for (uint64_t bit = 0; bit < page_size * 8;) {
      auto is_set = [&](uint64_t n) { return (std::to_integer<unsigned>(bits[n / 8]) >> (n % 8) & 1) != 0; };
      if (!is_set(bit)) {
        ++bit;
        continue;
      }
      uint64_t first = bit;
      while (bit < page_size * 8 && is_set(bit)) ++bit;
      ranges.push_back({start + first * sectorsize_, start + bit * sectorsize_});
    }
  }
  void join() {
    std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.start < b.start; });
    std::vector<Range> joined;
    for (const Range& range : ranges) {
      if (!joined.empty() && joined.back().end == range.start)
        joined.back().end = range.end;
      else
        joined.push_back(range);
    }
    ranges = std::move(joined);
  }

  const uint32_t sectorsize_;
  const Bytes file_;
  const FreeSpaceHeader& header_;
  uint64_t at_ = 0;
};

}  // namespace

std::unique_ptr<FreeSpaceSource> open_space_cache(State& state, const ChunkEntry& group) {
  const Superblock& super = state.fs.super();
  if (super.cache_generation != super.generation) return nullptr;  // all of it is stale
  Cursor cursor(state.fs.root_tree());
  Key key{id::free_space, ItemType{}, group.logical};
  auto found = cursor.find(key);
  if (!found || !*found) return nullptr;
  FreeSpaceHeader header = *cursor.as<FreeSpaceHeader>();
  Key location = header.location.key();
  found = cursor.find({location.objectid, ItemType::inode_item, 0});
  if (!found || !*found) return nullptr;
  const InodeItem& inode = *cursor.as<InodeItem>();
  if (inode.generation == 0 || inode.generation != header.generation)
    return nullptr;  // written, then dropped
  uint64_t size = inode.size;
  if (size == 0 || size % page_size != 0 || size > cache_bytes_max) return nullptr;
  auto file = read_cache_file(state, location.objectid, size);
  if (!file) return nullptr;
  CacheParser parser(state.geometry().sectorsize, *file, header);
  if (!parser.parse()) return nullptr;
  return std::make_unique<CachedRanges>(std::move(parser.ranges), std::nullopt);
}

}  // namespace karst::btrfs::check

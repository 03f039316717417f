#include "btrfs/file/checksums.h"

#include <array>
#include <cstring>

namespace karst::btrfs {
namespace err {
const ErrorKind checksum_missing{"checksum-missing", &karst::err::checksum, EIO};
const ErrorKind data_checksum{"data-checksum", &karst::err::checksum, EIO};
}  // namespace err

Result<void> ChecksumReader::find(uint64_t logical, uint64_t length, Range& range) {
  if (!opened_) {
    cursor_ = Cursor(TRY(fs_.tree(id::csum_tree)));
    opened_ = true;
  }
  const Geometry& geometry = fs_.geometry();
  const uint64_t sector = geometry.sectorsize, size = geometry.checksum_size;
  const uint64_t end = logical + length;
  range.sums.assign(length / sector * size, std::byte{});
  range.present.assign(length / sector, false);
  uint64_t found = 0;

  bool at = TRY(cursor_.seek_back({id::extent_csum, ItemType::extent_csum, logical}));
  if (!at) at = TRY(cursor_.seek({id::extent_csum, ItemType::extent_csum, logical}));
  for (; at; at = TRY(cursor_.next())) {
    const Key& key = cursor_.key();
    if (key.objectid != id::extent_csum || key.type != ItemType::extent_csum) {
      if (key > Key{id::extent_csum, ItemType::extent_csum, logical}) break;
      continue;
    }
    if (key.offset >= end) break;
    Bytes sums = cursor_.data();
    uint64_t item_end = key.offset + sums.size() / size * sector;
    uint64_t from = std::max(key.offset, logical), to = std::min(item_end, end);
    if (from >= to) continue;
    std::memcpy(range.sums.data() + (from - logical) / sector * size,
                sums.data() + (from - key.offset) / sector * size, (to - from) / sector * size);
    for (uint64_t i = (from - logical) / sector; i < (to - logical) / sector; ++i) range.present[i] = true;
    found += (to - from) / sector;
    if (item_end >= end) break;
  }
  range.complete = found == range.present.size();
  return {};
}

std::vector<uint32_t> bad_sectors(const Geometry& geometry, Bytes data, const ChecksumReader::Range& range) {
  constexpr size_t batch = 64;  // sectors whose checksums fit on the stack
  std::array<std::byte, batch * 32> computed;
  std::vector<uint32_t> bad;
  const size_t sector = geometry.sectorsize, size = geometry.checksum_size, count = data.size() / sector;
  for (size_t first = 0; first < count; first += batch) {
    size_t some = std::min(batch, count - first);
    auto out = std::span(computed).first(some * size);
    compute_checksums(geometry.checksum_type, data.subspan(first * sector, some * sector), sector, out);
    if (range.complete && std::memcmp(out.data(), range.sums.data() + first * size, out.size()) == 0)
      continue;
    for (size_t i = 0; i < some; ++i)
      if (!range.present[first + i] ||
          std::memcmp(out.data() + i * size, range.sums.data() + (first + i) * size, size) != 0)
        bad.push_back(static_cast<uint32_t>(first + i));
  }
  return bad;
}

Error sector_error(const Geometry& geometry, uint64_t logical, Bytes data, const ChecksumReader::Range& range,
                   uint32_t index) {
  uint64_t address = logical + uint64_t{index} * geometry.sectorsize;
  if (!range.present[index])
    return Error(err::checksum_missing, "data has no checksum").at("logical", address);
  Checksum expected{};
  std::memcpy(expected.bytes.data(), range.sums.data() + index * geometry.checksum_size,
              geometry.checksum_size);
  Checksum found = compute_checksum(geometry.checksum_type,
                                    data.subspan(index * geometry.sectorsize, geometry.sectorsize));
  return Error(err::data_checksum, "data checksum does not match")
      .expected(expected.text(geometry.checksum_type), found.text(geometry.checksum_type))
      .at("logical", address);
}

}  // namespace karst::btrfs

#include "btrfs/tool/build/extent_encoder.h"

#include <algorithm>

#include "btrfs/format/extent.h"
#include "btrfs/format/header.h"

namespace karst::btrfs::build {

Encoding encoding_of(const Properties& properties, const Encoding& by_default) {
  Encoding encoding = by_default;
  auto choose = [&](Compression type) {
    encoding.compression = type;
    encoding.level = properties.level;
  };
  switch (properties.compression) {
    case CompressionChoice::unset: break;
    case CompressionChoice::none: choose(Compression::none); break;
    case CompressionChoice::zlib: choose(Compression::zlib); break;
    case CompressionChoice::lzo: choose(Compression::lzo); break;
    case CompressionChoice::zstd: choose(Compression::zstd); break;
  }
  if (properties.nodatacow) {
    encoding.compression = Compression::none;
    encoding.checksums = false;
  }
  return encoding;
}

std::unique_ptr<std::byte[]> BatchBuffers::take() {
  {
    MutexLock lock(mutex_);
    if (!free_.empty()) {
      auto buffer = std::move(free_.back());
      free_.pop_back();
      return buffer;
    }
  }
  return std::make_unique_for_overwrite<std::byte[]>(EncodedBatch::capacity);
}

void BatchBuffers::give_back(std::unique_ptr<std::byte[]> buffer) {
  if (!buffer) return;
  MutexLock lock(mutex_);
  free_.push_back(std::move(buffer));
}

Result<CompressorPool*> Codecs::pool(Compression type, int level) {
  const std::pair key{type, compression_level(type, level)};
  MutexLock lock(mutex_);
  auto& pool = pools_[key];
  if (!pool) pool = TRY(create_compressor_pool(key.first, key.second));
  return pool.get();
}

void ExtentEncoder::add_raw(uint32_t file, uint64_t file_offset, uint32_t bytes, const Encoding& encoding) {
  // Where equal content is looked for, it is looked for in pieces that compression has too.
  const uint32_t longest = with_digests_ ? max_compressed_extent : bytes;
  for (uint32_t done = 0; done < bytes; done += longest) {
    const uint32_t length = std::min(longest, bytes - done);
    batch_.extents.push_back(
        {file, file_offset + done, length, batch_.used, length, Compression::none, encoding.checksums});
    batch_.used += length;
  }
}

Result<void> ExtentEncoder::add(uint32_t file, uint64_t file_offset, Bytes content,
                                const Encoding& encoding) {
  while (!content.empty()) {
    Bytes piece = content.first(std::min<size_t>(content.size(), max_compressed_extent));
    if (encoding.compression == Compression::none ||
        !TRY(try_compressed(file, file_offset, piece, encoding))) {
      MutableBytes room = reserve(static_cast<uint32_t>(piece.size()));
      std::copy(piece.begin(), piece.end(), room.begin());
      add_raw(file, file_offset, static_cast<uint32_t>(piece.size()), encoding);
    }
    file_offset += piece.size();
    content = content.subspan(piece.size());
  }
  return {};
}

// Compressed is better only if it saves a sector, as for Linux.
Result<bool> ExtentEncoder::try_compressed(uint32_t file, uint64_t file_offset, Bytes piece,
                                           const Encoding& encoding) {
  const uint32_t sector = geometry_.sectorsize;
  if (piece.size() <= sector) return false;
  MutableBytes room = reserve(static_cast<uint32_t>(piece.size() - sector));
  auto pool = TRY(codecs_.pool(encoding.compression, encoding.level));
  std::optional<size_t> size = TRY(pool->take()->compress(piece, room, sector));
  if (!size) return false;
  const auto disk_bytes = static_cast<uint32_t>((*size + sector - 1) / sector * sector);
  std::fill(room.begin() + static_cast<ptrdiff_t>(*size), room.begin() + disk_bytes, std::byte{0});
  batch_.extents.push_back({file, file_offset, static_cast<uint32_t>(piece.size()), batch_.used, disk_bytes,
                            encoding.compression, encoding.checksums});
  batch_.used += disk_bytes;
  return true;
}

void ExtentEncoder::finish() {
  const Bytes data(batch_.data.get(), batch_.used);
  batch_.checksums.resize(size_t{batch_.used} / geometry_.sectorsize * geometry_.checksum_size);
  if (std::any_of(batch_.extents.begin(), batch_.extents.end(),
                  [](const EncodedExtent& extent) { return extent.checksums; }))
    compute_checksums(geometry_.checksum_type, data, geometry_.sectorsize, batch_.checksums);
  if (!with_digests_) return;
  for (const EncodedExtent& extent : batch_.extents) {
    Checksum digest = compute_checksum(ChecksumType::blake2b_256, data.subspan(extent.at, extent.disk_bytes));
    // What is stored in another way is another extent, though its bytes be the same.
    digest.bytes[0] ^= static_cast<std::byte>(static_cast<uint8_t>(extent.compression) << 1 |
                                              static_cast<uint8_t>(extent.checksums));
    batch_.digests.push_back(digest);
  }
}

uint32_t inline_limit(const Geometry& geometry, uint32_t wanted) {
  return std::min(wanted, geometry.nodesize -
                              static_cast<uint32_t>(sizeof(Header) + sizeof(Item) + sizeof(FileExtentHead)));
}

Result<InlineContent> encode_inline(Bytes content, const Encoding& encoding, Codecs& codecs,
                                    uint32_t sectorsize) {
  InlineContent out;
  if (encoding.compression != Compression::none && !content.empty()) {
    out.bytes.resize(content.size());
    auto pool = TRY(codecs.pool(encoding.compression, encoding.level));
    if (auto size = TRY(pool->take()->compress(content, out.bytes, sectorsize))) {
      out.bytes.resize(*size);
      out.compression = encoding.compression;
      return out;
    }
  }
  out.bytes.assign(content.begin(), content.end());
  return out;
}

}  // namespace karst::btrfs::build

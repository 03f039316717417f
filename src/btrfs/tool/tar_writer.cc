#include "btrfs/tool/tar_writer.h"

#include <array>

namespace karst::btrfs {
namespace {
const std::array<std::byte, 10240 + 1024> zero_bytes{};
}  // namespace

void TarBuffers::borrow(Bytes bytes) {
  if (bytes.empty()) return;
  parts_.push_back({bytes.data(), 0, bytes.size()});
  size_ += bytes.size();
}

void TarBuffers::own(Bytes bytes) {
  if (bytes.empty()) return;
  size_t offset = owned_.size();
  owned_.insert(owned_.end(), bytes.begin(), bytes.end());
  size_ += bytes.size();
  if (!parts_.empty() && !parts_.back().borrowed && parts_.back().offset + parts_.back().length == offset) {
    parts_.back().length += bytes.size();
    return;
  }
  parts_.push_back({nullptr, offset, bytes.size()});
}

void TarBuffers::zeroes(size_t count) { borrow(Bytes(zero_bytes).first(count)); }

std::span<iovec> TarBuffers::vectors() {
  vectors_.clear();
  for (const Part& part : parts_) {
    const std::byte* start = part.borrowed ? part.borrowed : owned_.data() + part.offset;
    vectors_.push_back({const_cast<std::byte*>(start), part.length});
  }
  return vectors_;
}

void TarBuffers::clear() {
  owned_.clear();
  parts_.clear();
  size_ = 0;
}

Result<void> TarWriter::add_header(const TarEntry& entry) {
  out_.own(as_bytes(TRY(pax_header(entry))));
  return {};
}

Result<void> TarWriter::add(const TarEntry& entry, Bytes contents) {
  TRY(add_header(entry));
  if (!entry.has_contents()) return {};
  uint64_t stored = contents.size();
  if (entry.sparse) {
    stored = 0;
    for (auto [offset, length] : entry.data) {
      out_.borrow(contents.subspan(offset, length));
      stored += length;
    }
  } else {
    out_.borrow(contents);
  }
  out_.zeroes(contents_padding(stored));
  return {};
}

}  // namespace karst::btrfs

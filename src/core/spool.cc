#include "core/spool.h"

#include <algorithm>

namespace karst {

Result<void> Spool::append(Bytes bytes) {
  while (!bytes.empty()) {
    const size_t filled = size_ % piece_size;
    const bool to_memory = size_ < options_.memory || (filled > 0 && !filling_);
    if (to_memory && filled == 0) kept_.push_back(std::make_unique_for_overwrite<std::byte[]>(piece_size));
    if (!to_memory && !filling_) filling_ = std::make_unique_for_overwrite<std::byte[]>(piece_size);
    const size_t length = std::min(bytes.size(), piece_size - filled);
    std::byte* piece = to_memory ? kept_.back().get() : filling_.get();
    std::memcpy(piece + filled, bytes.data(), length);
    size_ += length;
    bytes = bytes.subspan(length);
    if (!to_memory && filled + length == piece_size) {
      if (!file_) file_ = TRY(SpillFile::create(options_.directory, options_.spill_limit));
      TRY(file_->append({piece, piece_size}));
    }
  }
  return {};
}

Result<void> Spool::read(uint64_t offset, MutableBytes destination) const {
  const uint64_t in_memory = kept_.size() * piece_size, in_file = file_ ? file_->size() : 0;
  while (!destination.empty()) {
    const size_t within = offset % piece_size;
    const size_t length = std::min(destination.size(), piece_size - within);
    if (offset < in_memory)
      std::memcpy(destination.data(), kept_[offset / piece_size].get() + within, length);
    else if (offset - in_memory < in_file)
      TRY(file_->read(offset - in_memory, destination.first(length)));
    else
      std::memcpy(destination.data(), filling_.get() + within, length);
    offset += length;
    destination = destination.subspan(length);
  }
  return {};
}

Result<void> Spool::for_each(FunctionRef<Result<void>(Bytes)> each) const {
  std::vector<std::byte> buffer;
  for (uint64_t offset = 0; offset < size_; offset += piece_size) {
    const size_t length = std::min<uint64_t>(piece_size, size_ - offset);
    if (offset < kept_.size() * piece_size) {
      TRY(each({kept_[offset / piece_size].get(), length}));
      continue;
    }
    buffer.resize(length);
    TRY(read(offset, buffer));
    TRY(each(buffer));
  }
  return {};
}

}  // namespace karst

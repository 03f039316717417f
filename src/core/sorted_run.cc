#include "core/sorted_run.h"

#include <algorithm>
#include <cstring>

#include "core/varint.h"

namespace karst {
namespace {
constexpr size_t write_size = 256 << 10;
constexpr size_t read_size = 128 << 10;

size_t common_prefix(Bytes a, Bytes b) {
  auto [in_a, in_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<size_t>(in_a - a.begin());
}
}  // namespace

int compare_keys(Bytes a, Bytes b) {
  const size_t both = std::min(a.size(), b.size());
  if (int order = both == 0 ? 0 : std::memcmp(a.data(), b.data(), both)) return order;
  return a.size() < b.size() ? -1 : a.size() > b.size();
}

void RunWriter::begin(SortedRun run) {
  first_ = run.size == 0;
  run_ = std::move(run);
  if (first_) {
    run_.offset = file_.size();
    run_.last_key.clear();
  }
}

Result<void> RunWriter::add(Bytes key, Bytes value) {
  const size_t shared = first_ ? 0 : common_prefix(run_.last_key, key);
  first_ = false;
  append_varint(buffer_, shared);
  append_varint(buffer_, key.size() - shared);
  append_varint(buffer_, value.size());
  buffer_.insert(buffer_.end(), key.begin() + static_cast<ptrdiff_t>(shared), key.end());
  buffer_.insert(buffer_.end(), value.begin(), value.end());
  run_.last_key.resize(shared);
  run_.last_key.insert(run_.last_key.end(), key.begin() + static_cast<ptrdiff_t>(shared), key.end());
  if (buffer_.size() >= write_size) TRY(flush());
  return {};
}

Result<void> RunWriter::flush() {
  TRY(file_.append(buffer_));
  run_.size += buffer_.size();
  buffer_.clear();
  return {};
}

Result<SortedRun> RunWriter::end() {
  TRY(flush());
  return std::move(run_);
}

RunReader::RunReader(const SpillFile& file, const SortedRun& run)
    : file_(&file), offset_(run.offset), left_(run.size) {}

// Has `wanted` bytes in the buffer, or all that are left.
Result<void> RunReader::fill(size_t wanted) {
  if (end_ - begin_ >= wanted || left_ == 0) return {};
  std::copy(buffer_.begin() + static_cast<ptrdiff_t>(begin_), buffer_.begin() + static_cast<ptrdiff_t>(end_),
            buffer_.begin());
  end_ -= begin_;
  begin_ = 0;
  if (buffer_.size() < std::max(wanted, read_size)) buffer_.resize(std::max(wanted, read_size));
  const size_t length = std::min<uint64_t>(left_, buffer_.size() - end_);
  TRY(file_->read(offset_, MutableBytes(buffer_).subspan(end_, length)));
  end_ += length;
  offset_ += length;
  left_ -= length;
  return {};
}

Result<bool> RunReader::next() {
  TRY(fill(3 * max_varint_size));
  if (begin_ == end_) return false;
  const std::byte* at = buffer_.data() + begin_;
  const uint64_t shared = take_varint(at), rest = take_varint(at), value_size = take_varint(at);
  begin_ = static_cast<size_t>(at - buffer_.data());
  TRY(fill(rest + value_size));
  at = buffer_.data() + begin_;
  key_.resize(shared);
  key_.insert(key_.end(), at, at + rest);
  value_ = Bytes(at + rest, value_size);
  begin_ += rest + value_size;
  return true;
}

}  // namespace karst

#include "core/spill_queue.h"

#include <cstring>

namespace karst {
namespace {
using Size = uint32_t;  // before each record
}

Result<void> SpillQueue::push(Bytes record) {
  if (record.size() > ~Size{0}) return Error(err::limit, "a record of 4 GiB is too big to queue");
  const Size size = static_cast<Size>(record.size());
  const Bytes size_bytes = std::as_bytes(std::span(&size, 1));
  tail_.insert(tail_.end(), size_bytes.begin(), size_bytes.end());
  tail_.insert(tail_.end(), record.begin(), record.end());
  ++count_;
  if (tail_.size() < memory_ || (blocks_.empty() && head_at_ == head_.size())) return {};
  if (!file_) file_.emplace(TRY(SpillFile::create(directory_, uint64_t{1} << 50)));
  const uint64_t offset = TRY(file_->append(tail_));
  blocks_.emplace_back(offset, tail_.size());
  tail_.clear();
  return {};
}

Result<void> SpillQueue::refill() {
  head_at_ = 0;
  head_.clear();
  if (blocks_.empty()) {
    head_.swap(tail_);
    return {};
  }
  const auto [offset, size] = blocks_.front();
  head_.resize(size);
  TRY(file_->read(offset, head_));
  blocks_.pop_front();
  if (blocks_.empty()) TRY(file_->clear());
  return {};
}

Result<std::optional<Bytes>> SpillQueue::front() {
  if (count_ == 0) return std::optional<Bytes>();
  if (head_at_ == head_.size()) TRY(refill());
  Size size;
  std::memcpy(&size, head_.data() + head_at_, sizeof size);
  return std::optional(Bytes(head_).subspan(head_at_ + sizeof size, size));
}

void SpillQueue::pop() {
  Size size;
  std::memcpy(&size, head_.data() + head_at_, sizeof size);
  head_at_ += sizeof size + size;
  --count_;
}

void SpillQueue::clear() {
  count_ = 0;
  head_.clear();
  head_at_ = 0;
  tail_.clear();
  blocks_.clear();
  file_.reset();
}

}  // namespace karst

// First in, first out, of more records than memory holds. Those between the oldest and the newest few are in
// an unlinked temporary file.
//
// Memory: about twice `memory` bytes, or the biggest record. Not thread-safe.
#pragma once
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "core/spill_file.h"

namespace karst {

class SpillQueue {
 public:
  // The file is made only if it is needed.
  SpillQueue(std::string directory, size_t memory) : directory_(std::move(directory)), memory_(memory) {}

  Result<void> push(Bytes record);
  // The oldest; nothing if there is none. Valid until pop() or push().
  Result<std::optional<Bytes>> front();
  void pop();  // what front() gave
  bool empty() const { return count_ == 0; }
  void clear();

 private:
  Result<void> refill();
  const std::string directory_;
  const size_t memory_;
  uint64_t count_ = 0;
  std::vector<std::byte> head_;  // records to be read next, from head_at_
  size_t head_at_ = 0;
  std::deque<std::pair<uint64_t, uint64_t>> blocks_;  // offset and size in file_, between head_ and tail_
  std::vector<std::byte> tail_;                       // the newest
  std::optional<SpillFile> file_;
};

}  // namespace karst

#include "btrfs/extent/data_space.h"

#include <algorithm>

#include "core/assert.h"

namespace karst::btrfs {

Result<void> DataSpace::add_chunk(uint64_t stripe_min, uint64_t stripe_max) {
  // The length is known only once the devices have been chosen; so much is never reached.
  ChunkEntry chunk = TRY(devices_.allocate(0, type_, stripe_min, stripe_max));
  chunk.logical = logical_.take(chunk.length);
  next_ = chunk.logical;
  chunks_.push_back(std::move(chunk));
  return {};
}

Result<DataSpace::Run> DataSpace::allocate(uint64_t length, uint64_t at_least) {
  if (chunks_.empty() || chunks_.back().end() - next_ < at_least)
    TRY(add_chunk(std::max(at_least, stripe_length), stripe_max_));
  Run run{next_, std::min(length, chunks_.back().end() - next_)};
  next_ += run.length;
  return run;
}

const ChunkEntry& DataSpace::chunk_of(uint64_t address) const {
  auto after = std::upper_bound(chunks_.begin(), chunks_.end(), address,
                                [](uint64_t a, const ChunkEntry& chunk) { return a < chunk.logical; });
  VERIFY(after != chunks_.begin() && std::prev(after)->contains(address));
  return *std::prev(after);
}

Result<std::vector<ChunkEntry>> DataSpace::finish(uint64_t least) {
  if (chunks_.empty()) TRY(add_chunk(stripe_length, std::max(least, stripe_length)));
  ChunkEntry& last = chunks_.back();
  uint64_t used = std::max({next_ - last.logical, least, uint64_t{1}});
  uint64_t width = last.data_stripes();
  devices_.trim(last, (used + width - 1) / width);
  return std::move(chunks_);
}

}  // namespace karst::btrfs

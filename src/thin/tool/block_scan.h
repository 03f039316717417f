// Reads many blocks of a metadata device in the order of their addresses, in large pieces, on all threads of
// a pool.
#pragma once
#include <atomic>
#include <vector>

#include "block/device.h"
#include "core/bytes.h"
#include "core/function_ref.h"
#include "core/worker_pool.h"
#include "thin/format/ids.h"

namespace karst::thin {

// Blocks, a bit each. Any number of threads may insert.
class BlockSet {
 public:
  explicit BlockSet(uint64_t blocks) : words_((blocks + 63) / 64) {}

  void insert(MetadataBlock block) {
    std::atomic_ref(words_[raw(block) / 64]).fetch_or(bit(block), std::memory_order_relaxed);
  }
  bool empty() const;
  uint64_t word(size_t at) const { return words_[at]; }
  size_t words() const { return words_.size(); }

 private:
  static uint64_t bit(MetadataBlock block) { return uint64_t{1} << raw(block) % 64; }
  std::vector<uint64_t> words_;
};

// Calls each(number, bytes) for all of the set, from several threads; bytes are empty and `error` tells why
// for a block that cannot be read. They are borrowed for the call. Returns the pool's errors only: no memory.
using EachBlock = FunctionRef<void(MetadataBlock number, Bytes block, const Error* error)>;
Result<void> scan_blocks(block::Device& device, const BlockSet& set, WorkerPool& pool, EachBlock each);

}  // namespace karst::thin

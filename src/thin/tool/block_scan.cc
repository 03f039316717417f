#include "thin/tool/block_scan.h"

#include <algorithm>
#include <bit>

namespace karst::thin {
namespace {

constexpr size_t words_per_turn = 64;      // 4096 blocks, 16 MiB
constexpr uint64_t blocks_per_read = 256;  // 1 MiB
constexpr uint64_t gap_read_too = 8;       // reading on costs less than beginning again

// One thread's share: runs of blocks that are near each other are one read.
class Reader {
 public:
  Reader(block::Device& device, EachBlock each)
      : device_(device), each_(each), buffer_(blocks_per_read * metadata_block_size) {}

  void add(uint64_t block) {
    if (!blocks_.empty() &&
        (block - blocks_.back() > gap_read_too || block - blocks_.front() >= blocks_per_read))
      read();
    blocks_.push_back(block);
  }

  void read() {
    if (blocks_.empty()) return;
    const uint64_t first = blocks_.front(), count = blocks_.back() - first + 1;
    const MutableBytes into = MutableBytes(buffer_).first(count * metadata_block_size);
    const bool whole = device_.read(first * metadata_block_size, into).has_value();
    for (const uint64_t block : blocks_) {
      const MutableBytes bytes = into.subspan((block - first) * metadata_block_size, metadata_block_size);
      // Which of them it was.
      auto alone = whole ? Result<void>() : device_.read(block * metadata_block_size, bytes);
      each_(MetadataBlock{block}, alone ? Bytes(bytes) : Bytes(), alone ? nullptr : &alone.error());
    }
    blocks_.clear();
  }

 private:
  block::Device& device_;
  const EachBlock each_;
  std::vector<std::byte> buffer_;
  std::vector<uint64_t> blocks_;  // to be read, ascending
};

}  // namespace

bool BlockSet::empty() const {
  return std::ranges::all_of(words_, [](uint64_t word) { return word == 0; });
}

Result<void> scan_blocks(block::Device& device, const BlockSet& set, WorkerPool& pool, EachBlock each) {
  std::atomic<size_t> next{0};
  const auto work = [&]() -> Result<void> {
    Reader reader(device, each);
    for (;;) {
      const size_t begin = next.fetch_add(words_per_turn, std::memory_order_relaxed);
      if (begin >= set.words()) break;
      for (size_t at = begin; at < std::min(begin + words_per_turn, set.words()); ++at)
        for (uint64_t word = set.word(at); word != 0; word &= word - 1)
          reader.add(at * 64 + static_cast<uint64_t>(std::countr_zero(word)));
      reader.read();
    }
    return {};
  };
  TaskGroup group(pool);
  const size_t turns = (set.words() + words_per_turn - 1) / words_per_turn;
  for (size_t i = 0; i < std::min<size_t>(pool.thread_count(), turns); ++i) group.run(work);
  return group.wait();
}

}  // namespace karst::thin

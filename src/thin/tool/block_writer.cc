#include "thin/tool/block_writer.h"

#include <algorithm>

#include "core/assert.h"
#include "thin/format/errors.h"

namespace karst::thin {

Result<MetadataBlock> BlockWriter::append(BlockKind kind, MutableBytes block) {
  if (next_ >= nr_blocks_)
    return Error::make(err::no_space, "metadata does not fit on {} ({} blocks)", device_.name(), nr_blocks_);
  const MetadataBlock number{next_++};
  seal_block(kind, number, block);
  waiting_.insert(waiting_.end(), block.begin(), block.end());
  if (waiting_.size() >= piece) TRY(flush());
  return number;
}

Result<void> BlockWriter::flush() {
  if (waiting_.empty()) return {};
  TRY(device_.write(next_ * metadata_block_size - waiting_.size(), waiting_));
  waiting_.clear();
  return {};
}

Result<void> BlockWriter::read(MetadataBlock number, MutableBytes into) {
  VERIFY(raw(number) > 0 && raw(number) < next_ && into.size() == metadata_block_size);
  const uint64_t first_waiting = next_ - waiting_.size() / metadata_block_size;
  if (raw(number) < first_waiting) return device_.read(raw(number) * metadata_block_size, into);
  const auto from =
      waiting_.begin() + static_cast<ptrdiff_t>((raw(number) - first_waiting) * metadata_block_size);
  std::copy_n(from, metadata_block_size, into.begin());
  return {};
}

}  // namespace karst::thin

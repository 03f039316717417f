#include "block/overlay_device.h"

#include <algorithm>
#include <cstring>

namespace karst::block {

OverlayDevice::OverlayDevice(Device& below) : below_(below), name_("overlay:" + below.name()) {}

size_t OverlayDevice::changed_blocks() const {
  SharedLock lock(mutex_);
  return blocks_.size();
}

// Nothing is copied from below, for writes are of whole blocks.
std::byte* OverlayDevice::own_block_locked(uint64_t block) {
  std::unique_ptr<std::byte[]>& bytes = blocks_[block];
  if (!bytes) bytes = std::make_unique<std::byte[]>(block_size());
  return bytes.get();
}

// Calls each(block, offset in it, length, position) for the parts of a range.
template <typename F>
void OverlayDevice::for_each_block(uint64_t offset, uint64_t length, F&& each) const {
  const uint64_t unit = block_size();
  for (uint64_t done = 0; done < length;) {
    const uint64_t at = (offset + done) % unit;
    const uint64_t part = std::min(unit - at, length - done);
    each((offset + done) / unit, at, part, done);
    done += part;
  }
}

Result<void> OverlayDevice::perform(const IoRequest& request) {
  switch (request.op) {
    case IoOp::flush: return {};
    case IoOp::read: {
      // What is below first, then what was changed over it: one read below, however many blocks.
      TRY(below_.resubmit_unaccounted(request.again()));
      SharedLock lock(mutex_);
      for_each_piece(request.buffers, [&](MutableBytes piece, uint64_t position) {
        for_each_block(request.offset + position, piece.size(),
                       [&](uint64_t block, uint64_t at, uint64_t part, uint64_t done) {
                         mutex_.assert_held_shared();
                         const auto found = blocks_.find(block);
                         if (found != blocks_.end())
                           std::memcpy(piece.data() + done, found->second.get() + at, part);
                       });
      });
      return {};
    }
    case IoOp::write: {
      ExclusiveLock lock(mutex_);
      for_each_piece(request.buffers, [&](MutableBytes piece, uint64_t position) {
        for_each_block(request.offset + position, piece.size(),
                       [&](uint64_t block, uint64_t at, uint64_t part, uint64_t done) {
                         mutex_.assert_held();
                         std::memcpy(own_block_locked(block) + at, piece.data() + done, part);
                       });
      });
      return {};
    }
    case IoOp::discard:
    case IoOp::write_zeroes: {
      ExclusiveLock lock(mutex_);
      for_each_block(request.offset, request.length,
                     [&](uint64_t block, uint64_t at, uint64_t part, uint64_t) {
                       mutex_.assert_held();
                       std::memset(own_block_locked(block) + at, 0, part);
                     });
      return {};
    }
  }
  return {};
}

}  // namespace karst::block

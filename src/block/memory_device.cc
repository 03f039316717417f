#include "block/memory_device.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace karst::block {
namespace {

constexpr uint64_t stripe_size = 65536;

constexpr uint64_t page_size = 4096;

}  // namespace

Result<std::unique_ptr<MemoryDevice>> MemoryDevice::create(uint64_t size, uint32_t block_size,
                                                           std::string name) {
  if (!std::has_single_bit(block_size) || block_size > stripe_size)
    return Error::make(err::invalid, "block size {} is not a power of two up to {}", block_size, stripe_size);
  void* memory = ::mmap(nullptr, std::max<uint64_t>(size, 1), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    return Error::from_errno(errno, fmt::format("cannot map {} bytes", size)).at("device", name);
  return std::unique_ptr<MemoryDevice>(
      new MemoryDevice(static_cast<std::byte*>(memory), size, block_size, std::move(name)));
}

MemoryDevice::MemoryDevice(std::byte* memory, uint64_t size, uint32_t block_size, std::string name)
    : memory_(memory), size_(size), block_size_(block_size), name_(std::move(name)) {}

MemoryDevice::~MemoryDevice() { ::munmap(memory_, std::max<uint64_t>(size_, 1)); }

// Calls each(offset, length) for every stripe of the range, with its lock held: shared for a read.
template <typename F>
Result<void> MemoryDevice::for_each_stripe(const IoRequest& request, F&& each) {
  const bool nowait = has(request.flags, IoFlags::nowait);
  const uint64_t end = request.offset + request.length;
  for (uint64_t offset = request.offset; offset < end;) {
    const uint64_t length = std::min(end, (offset / stripe_size + 1) * stripe_size) - offset;
    SharedMutex& stripe = stripes_[offset / stripe_size % stripes_.size()].mutex;
    if (request.op == IoOp::read) {
      if (!nowait)
        stripe.lock_shared();
      else if (!stripe.try_lock_shared())
        return failed_request(*this, request, EAGAIN);
      const SharedLock lock(stripe, std::adopt_lock);
      each(offset, length);
    } else {
      if (!nowait)
        stripe.lock();
      else if (!stripe.try_lock())
        return failed_request(*this, request, EAGAIN);
      const ExclusiveLock lock(stripe, std::adopt_lock);
      each(offset, length);
    }
    offset += length;
  }
  return {};
}

// Whole pages are given back to the system.
void MemoryDevice::clear(uint64_t offset, uint64_t length) {
  const uint64_t first_page = (offset + page_size - 1) / page_size * page_size;
  const uint64_t last_page = (offset + length) / page_size * page_size;
  if (first_page < last_page && ::madvise(memory_ + first_page, last_page - first_page, MADV_DONTNEED) == 0) {
    std::memset(memory_ + offset, 0, first_page - offset);
    std::memset(memory_ + last_page, 0, offset + length - last_page);
  } else {
    std::memset(memory_ + offset, 0, length);
  }
}

Result<void> MemoryDevice::perform(const IoRequest& request) {
  switch (request.op) {
    case IoOp::flush: return {};
    case IoOp::discard:
    case IoOp::write_zeroes:
      return for_each_stripe(request, [&](uint64_t offset, uint64_t length) { clear(offset, length); });
    case IoOp::read:
    case IoOp::write: break;
  }
  const bool reads = request.op == IoOp::read;
  // The stripes and the buffers advance together.
  size_t buffer = 0;
  size_t used = 0;
  return for_each_stripe(request, [&](uint64_t offset, uint64_t length) {
    while (length > 0) {
      const iovec& piece = request.buffers[buffer];
      const size_t part = std::min<uint64_t>(piece.iov_len - used, length);
      std::byte* outside = static_cast<std::byte*>(piece.iov_base) + used;
      std::byte* inside = memory_ + offset;
      if (part != 0) std::memcpy(reads ? outside : inside, reads ? inside : outside, part);
      offset += part;
      length -= part;
      used += part;
      if (used == piece.iov_len) {
        ++buffer;
        used = 0;
      }
    }
  });
}

}  // namespace karst::block

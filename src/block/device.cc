#include "block/device.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "core/assert.h"
#include "core/lock_order.h"

namespace karst::block {

const char* name_of(IoOp op) {
  switch (op) {
    case IoOp::read: return "read";
    case IoOp::write: return "write";
    case IoOp::flush: return "flush";
    case IoOp::discard: return "discard";
    case IoOp::write_zeroes: return "write-zeroes";
  }
  return "?";
}

namespace {

Error bad_request(const Device& device, const IoRequest& request, const ErrorKind& kind, std::string what) {
  return Error::make(kind, "{} of {} bytes: {}", name_of(request.op), request.length, what)
      .at("device", device.name())
      .at("offset", request.offset);
}

// True if the sum of the buffers is the length; counts without overflow (CO-007).
bool buffers_match(const IoRequest& request) {
  uint64_t left = request.length;
  for (const iovec& buffer : request.buffers) {
    if (buffer.iov_len > left) return false;
    left -= buffer.iov_len;
  }
  return left == 0;
}

// Writes are of whole blocks; only the last block of a device whose size is odd may be partial.
bool whole_blocks(const Device& device, const IoRequest& request) {
  const uint64_t block = device.block_size();
  const uint64_t end = request.offset + request.length;
  return request.offset % block == 0 && (end % block == 0 || end == device.size());
}

}  // namespace

std::optional<Error> check_request(const Device& device, const IoRequest& request) {
  const bool moves_data = request.op == IoOp::read || request.op == IoOp::write;
  if (has(request.flags, IoFlags::fua) && (request.op == IoOp::read || request.op == IoOp::flush))
    return bad_request(device, request, err::invalid, "only what changes anything can be FUA");
  if (moves_data && !buffers_match(request))
    return bad_request(device, request, err::invalid, "the buffers are not of this length");
  if (request.op == IoOp::flush) return std::nullopt;
  if (request.offset > device.size() || request.length > device.size() - request.offset)
    return bad_request(device, request, err::invalid,
                       fmt::format("outside the device of {} bytes", device.size()));
  if (request.op == IoOp::read) return std::nullopt;
  if (!device.writable()) return bad_request(device, request, err::read_only, "the device is open read-only");
  if (!whole_blocks(device, request))
    return bad_request(device, request, err::invalid,
                       fmt::format("not of whole blocks of {} bytes", device.block_size()));
  return std::nullopt;
}

Error failed_request(const Device& device, const IoRequest& request, int errno_value) {
  std::string what = fmt::format("{} of {} bytes", name_of(request.op), request.length);
  // ENOSPC of a sparse file is worth telling apart; what else the system says of a device is an I/O error.
  const bool keeps_its_kind = errno_value == EAGAIN || errno_value == EOPNOTSUPP || errno_value == ENOSPC ||
                              errno_value == ENOMEM || errno_value == EFBIG || errno_value == EROFS;
  Error error = keeps_its_kind ? Error::from_errno(errno_value, std::move(what))
                               : Error::make(err::io, "{}: {}", what, std::strerror(errno_value));
  return std::move(error).at("device", device.name()).at("offset", request.offset);
}

Error short_request(const Device& device, const IoRequest& request, uint64_t found) {
  return Error::make(err::io, "short {}: the device ends early", name_of(request.op))
      .expected(fmt::format("{} bytes", request.length), fmt::format("{} bytes", found))
      .at("device", device.name())
      .at("offset", request.offset);
}

uint64_t slice_buffers(std::span<const iovec> buffers, uint64_t skip, uint64_t length, std::span<iovec> into,
                       size_t& count) {
  uint64_t covered = 0;
  count = 0;
  for (const iovec& buffer : buffers) {
    if (count == into.size() || covered == length) break;
    if (skip >= buffer.iov_len) {
      skip -= buffer.iov_len;
      continue;
    }
    const size_t part = static_cast<size_t>(std::min<uint64_t>(buffer.iov_len - skip, length - covered));
    into[count++] = {static_cast<std::byte*>(buffer.iov_base) + skip, part};
    covered += part;
    skip = 0;
  }
  return covered;
}

void Device::execute(IoRequest& request) {
  if (!has(request.flags, IoFlags::nowait)) lock_order::may_block("device I/O");
  if (auto error = check_request(*this, request)) {
    request.outcome = *std::move(error);
    return;
  }
  carry_out(request);
  count(request);
}

Result<void> Device::resubmit_unaccounted(IoRequest request) {
  ASSERT(!check_request(*this, request));
  carry_out(request);
  return *std::move(request.outcome);
}

void Device::carry_out(IoRequest& request) {
  const bool empty = request.length == 0 && request.op != IoOp::flush;
  for (auto said = Completion::again; said == Completion::again;) {
    try {
      said = settle(request, empty ? Result<void>() : perform(request));
    } catch (const std::bad_alloc&) {
      said = settle(request, failed_request(*this, request, ENOMEM));
    }
  }
}

Completion Device::finish(IoRequest& request, Result<void> outcome) {
  const Completion said = settle(request, std::move(outcome));
  if (said == Completion::done) count(request);
  return said;
}

Completion Device::settle(IoRequest& request, Result<void> outcome) {
  if (makes_stable(request) && !outcome && !outcome.error().is(err::would_block) && failure_loses_writes())
    writes_lost_.store(true, std::memory_order_release);
  try {
    if (on_completion(request, outcome) == Completion::again) return Completion::again;
  } catch (const std::bad_alloc&) {
    // It had something to add, no more.
  }
  if (request.op == IoOp::flush && outcome && writes_lost_.load(std::memory_order_acquire))
    outcome = Error(err::io, "an earlier flush failed, and what was written before it may be lost")
                  .at("device", name());
  request.outcome = std::move(outcome);
  return Completion::done;
}

Result<void> Device::resize(uint64_t) {
  return Error(err::unsupported, "its size is fixed").at("device", name());
}
std::optional<DirectIo> Device::begin_direct(const IoRequest&) { return std::nullopt; }
void Device::end_direct(const DirectIo&) {}
void Device::abandon() {}
void Device::will_read(uint64_t, uint64_t) {}
Result<void> Device::extents(uint64_t offset, uint64_t length, ExtentListener each) {
  if (length > 0) each(offset, length, true);
  return {};
}

Result<void> Device::run(IoRequest request) {
  execute(request);
  return *std::move(request.outcome);
}

Result<void> Device::read(uint64_t offset, MutableBytes destination, IoFlags flags) {
  const iovec buffer{destination.data(), destination.size()};
  return run({IoOp::read, flags, offset, destination.size(), {&buffer, 1}});
}

Result<void> Device::write(uint64_t offset, Bytes source, IoFlags flags) {
  const iovec buffer{const_cast<std::byte*>(source.data()), source.size()};
  return run({IoOp::write, flags, offset, source.size(), {&buffer, 1}});
}

Result<void> Device::flush(IoFlags flags) { return run({.op = IoOp::flush, .flags = flags}); }

Result<void> Device::discard(uint64_t offset, uint64_t length, IoFlags flags) {
  return run({.op = IoOp::discard, .flags = flags, .offset = offset, .length = length});
}

Result<void> Device::write_zeroes(uint64_t offset, uint64_t length, IoFlags flags) {
  return run({.op = IoOp::write_zeroes, .flags = flags, .offset = offset, .length = length});
}

}  // namespace karst::block

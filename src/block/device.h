// A block device: bytes at offsets, and the words that order them.
//
// Every write says whether it is plain (may be lost until a flush) or FUA (on stable storage when it
// completes); flush makes the plain writes, discards and write_zeroes that completed before it was started
// stable. Nothing else orders writes. After a crash each block_size() unit of an unstable write holds the
// old or the new bytes; a discarded range reads as anything until it is written again.
//
// A flush or FUA write that fails may mean that plain writes before it are lost, and systems say so only once
// (Linux's fsync() reports an error of write-back to one caller and forgets it). So from then on every flush
// of the device fails, and what is written is not known to be stable until it is opened again.
//
// Requests are asynchronous: submit() starts them through a Queue (queue.h), which belongs to one thread and
// carries many in flight over any number of devices; the submitter reaps them itself, so no other thread is
// woken. read(), write() … are the synchronous forms. Devices are thread-safe; queues and requests are not.
//
// Errors: err::io with device and offset; a range outside the device, or a write that is not of whole
// blocks, is err::invalid; a write to a read-only device is err::read_only; a short read (a file truncated
// under us) is err::io with the lengths expected and found; a discard the device cannot do is
// err::unsupported; a nowait request that would have to wait is err::would_block and may have moved part of
// its bytes. std::bad_alloc of a device becomes err::no_memory.
#pragma once
#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "block/extents.h"
#include "block/io_counter.h"
#include "block/queue.h"
#include "core/bytes.h"
#include "core/result.h"

namespace karst::block {

// The operation is part of the request and is not a flag (CO-012).
enum class IoOp : uint8_t { read, write, flush, discard, write_zeroes };
const char* name_of(IoOp op);

// Flags are a type of their own: IoFlags::fua on what changes anything, IoFlags::nowait on anything (CO-018),
// IoFlags::no_unmap on write_zeroes: the blocks stay, or become, provisioned (Linux: REQ_NOUNMAP).
enum class IoFlags : uint8_t { none = 0, fua = 1, nowait = 2, no_unmap = 4 };
constexpr IoFlags operator|(IoFlags a, IoFlags b) {
  return static_cast<IoFlags>(static_cast<uint8_t>(a) | static_cast<uint8_t>(b));
}
constexpr bool has(IoFlags flags, IoFlags flag) {
  return (static_cast<uint8_t>(flags) & static_cast<uint8_t>(flag)) != 0;
}

// One request. It and its buffers stay alive and unmoved, owned by the submitter, until it is done.
struct IoRequest {
  IoOp op = IoOp::read;
  IoFlags flags = IoFlags::none;
  uint64_t offset = 0;
  uint64_t length = 0;               // bytes; for read and write the sum of the buffers
  std::span<const iovec> buffers{};  // data destination (read) or data source (write); never changed
  void* owner = nullptr;             // the submitter's, untouched

  // Set by the device when the request is done.
  std::optional<Result<void>> outcome{};
  bool done() const { return outcome.has_value(); }
  // The same request, not done yet: to pass on, or to try again.
  IoRequest again() const { return {op, flags, offset, length, buffers, owner}; }
};

// Whether the request ends only when it, and what it has to find done before it, is on stable storage: a
// flush, which is an operation of its own, or a change with the FUA flag (TH-017).
constexpr bool makes_stable(const IoRequest& request) {
  return request.op == IoOp::flush || (request.op != IoOp::read && has(request.flags, IoFlags::fua));
}

// What a completion hook says of a request that has been done (TH-056).
enum class Completion : uint8_t {
  done,   // the outcome is the request's, as the hook left it
  again,  // there is none yet: the whole request is to be performed once more
};

// Where io_uring may do a request as it stands.
struct DirectIo {
  int fd = -1;
  uint64_t offset = 0;    // of the request's first byte in the file
  void* token = nullptr;  // the device's own, until the I/O has ended
};

class Device {
 public:
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  virtual const std::string& name() const = 0;  // path or URL, for messages
  virtual uint64_t size() const = 0;            // bytes
  virtual uint32_t block_size() const = 0;      // smallest atomic write, bytes; reads may be of any size
  virtual bool writable() const = 0;
  // Makes it this large, or, of one whose size is given, looks that it is; size() tells it from then on.
  // Requests may be under way. err::unsupported for kinds that cannot.
  virtual Result<void> resize(uint64_t size);
  // The same for two devices of the same bytes, as far as that can be told.
  virtual std::string identity() const { return name(); }

  // Checks the request, does it before returning, sets its outcome and counts it.
  void execute(IoRequest& request);
  Result<void> run(IoRequest request);
  // For a request that a device above, or this one, has checked and counts, and has mapped to here: neither
  // checks nor counts it (TH-057).
  Result<void> resubmit_unaccounted(IoRequest request);
  // For a checked request that somebody else did, by way of begin_direct(): sets its outcome and counts it.
  // If it is to be done again, the outcome is not set: execute() does it then.
  Completion finish(IoRequest& request, Result<void> outcome);
  // The clients' requests since the device was made, each counted once, when it is done; those that were
  // refused by check_request() are not. Thread-safe.
  IoCounts counts() const { return counter_.counts(); }
  // For a request that has been checked: the file in which io_uring may do this read, write or flush as it
  // stands, if there is one; wrapping devices have none, so that each request passes through perform(). What
  // was begun is ended, whether it was done there or not.
  virtual std::optional<DirectIo> begin_direct(const IoRequest& request);
  virtual void end_direct(const DirectIo& io);
  // Where there may be data; what is told to be none reads as zeroes. All of it, for a device that cannot
  // tell. Best effort: as of some moment in the call.
  virtual Result<void> extents(uint64_t offset, uint64_t length, ExtentListener each);
  // Nobody needs it any more, though requests may be under way: they, and all later ones, end with an error
  // as soon as that can be. Devices that wait for nobody else do nothing.
  virtual void abandon();
  // Tells the device that a range will be read soon. Best effort.
  virtual void will_read(uint64_t offset, uint64_t length);

  Result<void> read(uint64_t offset, MutableBytes destination, IoFlags flags = IoFlags::none);
  Result<void> write(uint64_t offset, Bytes source, IoFlags flags = IoFlags::none);
  Result<void> flush(IoFlags flags = IoFlags::none);
  Result<void> discard(uint64_t offset, uint64_t length, IoFlags flags = IoFlags::none);
  Result<void> write_zeroes(uint64_t offset, uint64_t length, IoFlags flags = IoFlags::none);

 protected:
  Device() = default;
  // The heart of every device kind: does a request that check_request() has passed and that is not empty.
  virtual Result<void> perform(const IoRequest& request) = 0;
  // Called when a request has been done, here or by way of begin_direct(), in the thread that finds it so;
  // may change the outcome. A flush that has failed stays failed, even if it is done again. Not for direct
  // I/O that a device above has begun here: its hook is the one.
  virtual Completion on_completion(const IoRequest&, Result<void>&) { return Completion::done; }
  // Whether a flush or FUA write that failed may mean that earlier writes are lost. False for a device that
  // knows.
  virtual bool failure_loses_writes() const { return true; }

 private:
  void carry_out(IoRequest& request);
  Completion settle(IoRequest& request, Result<void> outcome);
  void count(const IoRequest& request) { counter_.add(request.op, request.length, !*request.outcome); }

  std::atomic<bool> writes_lost_{false};  // for good
  IoCounter counter_;
};

// Validates a request against the device's size, alignment and writability; the outcome of a bad one.
std::optional<Error> check_request(const Device& device, const IoRequest& request);

// The outcome of a request that the system refused with this errno (EAGAIN of a nowait request included).
Error failed_request(const Device& device, const IoRequest& request, int errno_value);
// The outcome of one that moved only `found` of its bytes, and no more will come.
Error short_request(const Device& device, const IoRequest& request, uint64_t found);

// The buffers' bytes [skip, skip + length) as iovecs, at most `limit` of them; helps to continue a short
// transfer or to split a long one. Returns the bytes covered.
uint64_t slice_buffers(std::span<const iovec> buffers, uint64_t skip, uint64_t length, std::span<iovec> into,
                       size_t& count);

// Calls each(part, position) with the pieces of the buffers, in order; position counts from 0.
template <typename F>
void for_each_piece(std::span<const iovec> buffers, F&& each) {
  uint64_t position = 0;
  for (const iovec& buffer : buffers) {
    each(MutableBytes(static_cast<std::byte*>(buffer.iov_base), buffer.iov_len), position);
    position += buffer.iov_len;
  }
}

}  // namespace karst::block

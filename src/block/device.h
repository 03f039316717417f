// A block device: bytes at offsets, and the words that order them.
//
// Every write says whether it is plain (may be lost until a flush) or FUA (on stable storage when it
// completes); flush makes all completed plain writes stable. Nothing else orders writes.
//
// Requests are asynchronous: submit() starts them through a Queue, which belongs to one thread and carries
// many in flight over any number of devices; the submitter reaps them itself, so no other thread is woken.
// read(), write() … are the synchronous forms. Devices are thread-safe; queues and requests are not.
//
// Errors: err::io with device and offset; a range outside the device is err::invalid; a short read (a file
// truncated under us) is err::io.
#pragma once
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"

namespace karst::block {

// The operation is part of the request and is not a flag (CO-012).
enum class IoOp : uint8_t { read, write, flush, discard, write_zeroes };

// Flags are a type of their own: IoFlags::fua on a write, IoFlags::nowait on anything (CO-018).
enum class IoFlags : uint8_t { none = 0, fua = 1, nowait = 2 };
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
  uint64_t length = 0;                   // bytes; for read and write the sum of the buffers
  std::span<iovec> buffers;              // data destination (read) or data source (write); may be advanced
  void* owner = nullptr;                 // the submitter's, untouched

  // Set by the device when the request is done.
  std::optional<Result<void>> outcome;
  bool done() const { return outcome.has_value(); }
};

class Device;

// In-flight requests of one thread. Destroying a queue waits for what is in flight.
class Queue {
 public:
  virtual ~Queue() = default;
  // Starts a request; it may complete before submit returns, and is reaped like any other. Blocks only if
  // the queue's own depth is exhausted (then it reaps into an internal list first).
  virtual void submit(Device& device, IoRequest& request) = 0;
  // Waits until at least one request is done and returns it; nullptr if none is in flight.
  virtual IoRequest* reap() = 0;
  // Like reap(), but returns nullptr at once if none is done yet.
  virtual IoRequest* try_reap() = 0;
  virtual size_t in_flight() const = 0;
};

// The calling thread's best queue: io_uring where the kernel allows it, otherwise one that does each
// request at submission.
std::unique_ptr<Queue> make_queue(unsigned depth = 64);

class Device {
 public:
  virtual ~Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  virtual const std::string& name() const = 0;  // path or URL, for messages
  virtual uint64_t size() const = 0;            // bytes
  virtual uint32_t block_size() const = 0;      // smallest atomic write, bytes; reads may be of any size
  virtual bool writable() const = 0;

  // Does the request before returning and sets its outcome. The heart of every device kind.
  virtual void execute(IoRequest& request) = 0;
  // A file descriptor on which io_uring may run this device's reads and writes at the same offsets, if
  // there is one; wrapping devices have none, so that each request passes through execute().
  virtual std::optional<int> direct_fd() const { return std::nullopt; }
  // Tells the device that a range will be read soon. Best effort.
  virtual void will_read(uint64_t offset, uint64_t length) { (void)offset, (void)length; }

  Result<void> read(uint64_t offset, MutableBytes destination);
  Result<void> write(uint64_t offset, Bytes source, IoFlags flags = IoFlags::none);
  Result<void> flush();
  Result<void> discard(uint64_t offset, uint64_t length);
  Result<void> write_zeroes(uint64_t offset, uint64_t length);

 protected:
  Device() = default;
};

// Validates a request against the device's size, alignment and writability; the outcome of a bad one.
std::optional<Error> check_request(const Device& device, const IoRequest& request);

}  // namespace karst::block

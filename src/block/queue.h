// Requests in flight: many at once, over any number of devices, from one thread.
//
// submit() collects; the requests collected are handed to the kernel together when the submitter waits
// (reap), looks (try_reap), says so (start) or when the depth is reached. A request that is alone is not
// worth a ring: reap() does it in the calling thread, which would have waited for it anyway.
//
// Measured (bench/block_bench.cc, page-cached file, CPU time where a bare pread of that size is 1;
// Linux 6.18):
//                       4 KiB   128 KiB
//   Device::read         1.1      1.03
//   Queue, depth 1       1.1      1.03
//   Queue, depth 32      1.1      0.91
// so trying each read without waiting (RWF_NOWAIT) before it goes to the ring would gain nothing.
#pragma once
#include <cstddef>
#include <memory>

namespace karst::block {

class Device;
struct IoRequest;

// A queue belongs to the thread that first submits to it. Destroying it waits for what is in flight.
class Queue {
 public:
  virtual ~Queue() = default;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  // Takes a request; it may complete before submit returns, and is reaped like any other. Blocks only if
  // the depth is exhausted, or if the device can do nothing but execute the request at once. A nowait
  // request never waits.
  virtual void submit(Device& device, IoRequest& request) = 0;
  // Hands what was submitted to the kernel without waiting for any of it.
  virtual void start() = 0;
  // Waits until at least one request is done and returns it; nullptr if none was submitted.
  virtual IoRequest* reap() = 0;
  // Like reap(), but returns nullptr at once if none is done yet.
  virtual IoRequest* try_reap() = 0;
  // Submitted and not yet reaped.
  virtual size_t in_flight() const = 0;

 protected:
  Queue() = default;
};

// The best queue there is: io_uring where the kernel allows it, otherwise one that does each request at
// submission.
std::unique_ptr<Queue> make_queue(unsigned depth = 64);
// The second of these, for devices without descriptors and for tests.
std::unique_ptr<Queue> make_inline_queue();

}  // namespace karst::block

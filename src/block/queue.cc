#include "block/queue.h"

#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <iterator>
#include <vector>

#include "block/device.h"
#include "core/assert.h"

namespace karst::block {
namespace {

// Does each request at submission.
class InlineQueue final : public Queue {
 public:
  void submit(Device& device, IoRequest& request) override {
    device.execute(request);
    done_.push_back(&request);
  }
  void start() override {}
  IoRequest* reap() override { return try_reap(); }
  IoRequest* try_reap() override {
    if (done_.empty()) return nullptr;
    IoRequest* request = done_.front();
    done_.pop_front();
    return request;
  }
  size_t in_flight() const override { return done_.size(); }

 private:
  std::deque<IoRequest*> done_;
};

// A request passes through these places, in order; each edge is one function:
//
//   submit ──► waiting_ ──start──► the ring ──harvest──► done_ ──► reap
//      └── done at once (no descriptor, nowait, invalid) ──▲
//                    └── alone at reap: run inline ────────▲
//
// harvest() puts the rest of a short transfer back to the front of waiting_.
class UringQueue final : public Queue {
 public:
  explicit UringQueue(unsigned depth) : depth_(std::clamp(depth, 1u, 4096u)) {}
  ~UringQueue() override;

  void submit(Device& device, IoRequest& request) override;
  void start() override;
  IoRequest* reap() override;
  IoRequest* try_reap() override;
  size_t in_flight() const override { return waiting_.size() + in_ring_ + done_.size(); }

 private:
  struct Transfer {
    Device* device = nullptr;
    IoRequest* request = nullptr;
    DirectIo io;
    uint64_t moved = 0;
    std::vector<iovec> pieces;  // of the part in the ring, if the request's own buffers do not serve
  };

  bool set_up_ring();
  void prepare(io_uring_sqe& sqe, Transfer& transfer);
  void hand_over(unsigned wait_for);
  void harvest();
  void complete(Transfer& transfer, int result);
  void run_inline(Transfer& transfer);
  void end(Transfer& transfer, Result<void> outcome);
  void release(Transfer& transfer);

  const unsigned depth_;
  enum class Ring : uint8_t { not_yet, ready, refused } state_ = Ring::not_yet;
  io_uring ring_{};
  unsigned in_ring_ = 0;
  std::deque<Transfer*> waiting_;
  std::deque<IoRequest*> done_;
  std::vector<std::unique_ptr<Transfer>> transfers_;  // at most depth_
  std::vector<Transfer*> free_;
};

constexpr uint64_t piece_max = 1u << 30;  // an sqe's length has 32 bits, a system call moves under 2 GiB
constexpr size_t iovecs_max = 1024;       // IOV_MAX
constexpr size_t batch = 8;               // hand over this many even if there is something to reap

// The ring is made when two requests first wait together: until then none is needed, and the thread that
// submits is the one it must belong to.
bool UringQueue::set_up_ring() {
  if (state_ != Ring::not_yet) return state_ == Ring::ready;
  // The newest kernels' cheapest mode first; older ones refuse the flags, and some refuse io_uring.
  const unsigned modes[] = {
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
          IORING_SETUP_CLAMP,
      IORING_SETUP_CLAMP,
  };
  state_ = Ring::refused;
  for (const unsigned mode : modes)
    if (::io_uring_queue_init(depth_, &ring_, mode) == 0) {
      state_ = Ring::ready;
      break;
    }
  return state_ == Ring::ready;
}

UringQueue::~UringQueue() {
  while (reap() != nullptr) {
  }
  if (state_ == Ring::ready) ::io_uring_queue_exit(&ring_);
}

void UringQueue::submit(Device& device, IoRequest& request) {
  const bool can_wait = !has(request.flags, IoFlags::nowait);
  const bool has_work = request.length != 0 || request.op == IoOp::flush;
  std::optional<DirectIo> io;
  if (can_wait && has_work && state_ != Ring::refused) {
    if (auto error = check_request(device, request)) {
      request.outcome = *std::move(error);
      done_.push_back(&request);
      return;
    }
    io = device.begin_direct(request);
  }
  if (!io) {
    device.execute(request);
    done_.push_back(&request);
    return;
  }
  while (waiting_.size() + in_ring_ >= depth_) {
    hand_over(1);
    harvest();
  }
  if (free_.empty()) {
    transfers_.push_back(std::make_unique<Transfer>());
    free_.push_back(transfers_.back().get());
  }
  Transfer* transfer = free_.back();
  free_.pop_back();
  transfer->device = &device;
  transfer->request = &request;
  transfer->io = *io;
  transfer->moved = 0;
  waiting_.push_back(transfer);
}

void UringQueue::prepare(io_uring_sqe& sqe, Transfer& transfer) {
  const IoRequest& request = *transfer.request;
  if (request.op == IoOp::flush) {
    ::io_uring_prep_fsync(&sqe, transfer.io.fd, IORING_FSYNC_DATASYNC);
  } else {
    std::span<const iovec> buffers = request.buffers;
    if (transfer.moved != 0 || buffers.size() > iovecs_max || request.length > piece_max) {
      transfer.pieces.resize(std::min(buffers.size(), iovecs_max));
      size_t count = 0;
      slice_buffers(buffers, transfer.moved, std::min(request.length - transfer.moved, piece_max),
                    transfer.pieces, count);
      buffers = std::span<const iovec>(transfer.pieces).first(count);
    }
    const uint64_t offset = transfer.io.offset + transfer.moved;
    const bool reads = request.op == IoOp::read;
    if (buffers.size() == 1) {
      const auto length = static_cast<unsigned>(buffers[0].iov_len);
      if (reads)
        ::io_uring_prep_read(&sqe, transfer.io.fd, buffers[0].iov_base, length, offset);
      else
        ::io_uring_prep_write(&sqe, transfer.io.fd, buffers[0].iov_base, length, offset);
    } else {
      const auto count = static_cast<unsigned>(buffers.size());
      if (reads)
        ::io_uring_prep_readv(&sqe, transfer.io.fd, buffers.data(), count, offset);
      else
        ::io_uring_prep_writev(&sqe, transfer.io.fd, buffers.data(), count, offset);
    }
    if (has(request.flags, IoFlags::fua)) sqe.rw_flags = RWF_DSYNC;
  }
  ::io_uring_sqe_set_data(&sqe, &transfer);
}

// Hands all that waits to the kernel in one call, and waits for `wait_for` completions. Where there is no
// ring, or the kernel takes no more, the requests are done here.
void UringQueue::hand_over(unsigned wait_for) {
  if (!waiting_.empty() && !set_up_ring()) {
    while (!waiting_.empty()) {
      Transfer* transfer = waiting_.front();
      waiting_.pop_front();
      run_inline(*transfer);
    }
    return;
  }
  while (!waiting_.empty()) {
    io_uring_sqe* sqe = ::io_uring_get_sqe(&ring_);
    if (sqe == nullptr) break;
    prepare(*sqe, *waiting_.front());
    waiting_.pop_front();
    ++in_ring_;
  }
  if (in_ring_ == 0) return;
  int result;
  do result = wait_for == 0 ? ::io_uring_submit(&ring_) : ::io_uring_submit_and_wait(&ring_, wait_for);
  while (result == -EINTR);
  // EAGAIN and EBUSY: the kernel is short of memory or of completion space; both pass as completions are
  // taken, and what is in the ring stays there until the next call. Others say that the ring is misused,
  // EEXIST for one that it belongs to another thread.
  VERIFY(result >= 0 || result == -EAGAIN || result == -EBUSY);
}

void UringQueue::harvest() {
  if (state_ != Ring::ready) return;
  io_uring_cqe* completions[64];
  while (in_ring_ > 0) {
    const unsigned count = ::io_uring_peek_batch_cqe(&ring_, completions, std::size(completions));
    if (count == 0) return;
    for (unsigned i = 0; i < count; ++i) {
      auto& transfer = *static_cast<Transfer*>(::io_uring_cqe_get_data(completions[i]));
      const int result = completions[i]->res;
      // Taken before it is looked at: should that throw, it is not seen twice.
      ::io_uring_cq_advance(&ring_, 1);
      --in_ring_;
      complete(transfer, result);
    }
  }
}

void UringQueue::complete(Transfer& transfer, int result) {
  IoRequest& request = *transfer.request;
  // Not a fact about the device: the blocking path answers instead.
  if (result == -EINTR || result == -EAGAIN || result == -ECANCELED) return run_inline(transfer);
  if (result < 0) return end(transfer, failed_request(*transfer.device, request, -result));
  if (request.op != IoOp::flush) {
    transfer.moved += static_cast<uint64_t>(result);
    if (transfer.moved < request.length) {
      if (result > 0) return waiting_.push_front(&transfer);
      return end(transfer, short_request(*transfer.device, request, transfer.moved));
    }
  }
  end(transfer, {});
}

void UringQueue::end(Transfer& transfer, Result<void> outcome) {
  transfer.device->end_direct(transfer.io);
  if (transfer.device->finish(*transfer.request, std::move(outcome)) == Completion::again)
    transfer.device->execute(*transfer.request);
  release(transfer);
}

void UringQueue::run_inline(Transfer& transfer) {
  transfer.device->end_direct(transfer.io);
  transfer.device->execute(*transfer.request);
  release(transfer);
}

void UringQueue::release(Transfer& transfer) {
  done_.push_back(transfer.request);
  free_.push_back(&transfer);
}

void UringQueue::start() {
  if (!waiting_.empty()) hand_over(0);
}

IoRequest* UringQueue::try_reap() {
  start();
  if (done_.empty()) harvest();
  if (done_.empty()) return nullptr;
  IoRequest* request = done_.front();
  done_.pop_front();
  return request;
}

IoRequest* UringQueue::reap() {
  if (!done_.empty() && waiting_.size() >= batch) hand_over(0);
  while (done_.empty()) {
    if (waiting_.empty() && in_ring_ == 0) return nullptr;
    if (waiting_.size() == 1 && in_ring_ == 0) {
      Transfer* alone = waiting_.front();
      waiting_.pop_front();
      run_inline(*alone);
      break;
    }
    hand_over(1);
    harvest();
  }
  IoRequest* request = done_.front();
  done_.pop_front();
  return request;
}

}  // namespace

std::unique_ptr<Queue> make_queue(unsigned depth) { return std::make_unique<UringQueue>(depth); }
std::unique_ptr<Queue> make_inline_queue() { return std::make_unique<InlineQueue>(); }

}  // namespace karst::block

// How many requests a device has done for its clients.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace karst::block {

enum class IoOp : uint8_t;
inline constexpr size_t io_op_count = 5;

struct IoCounts {
  struct Count {
    uint64_t requests = 0, bytes = 0;
  };
  std::array<Count, io_op_count> by_op{};  // by IoOp, those that failed too
  uint64_t failed = 0;

  const Count& of(IoOp op) const { return by_op[static_cast<size_t>(op)]; }
};

// Thread-safe; on lines of its own, away from what requests read.
class alignas(64) IoCounter {
 public:
  void add(IoOp op, uint64_t bytes, bool failed) {
    Cell& cell = cells_[static_cast<size_t>(op)];
    cell.requests.fetch_add(1, std::memory_order_relaxed);
    cell.bytes.fetch_add(bytes, std::memory_order_relaxed);
    if (failed) failed_.fetch_add(1, std::memory_order_relaxed);
  }
  // Each number as of some moment in the call.
  IoCounts counts() const {
    IoCounts counts;
    for (size_t i = 0; i < cells_.size(); ++i)
      counts.by_op[i] = {cells_[i].requests.load(std::memory_order_relaxed),
                         cells_[i].bytes.load(std::memory_order_relaxed)};
    counts.failed = failed_.load(std::memory_order_relaxed);
    return counts;
  }

 private:
  struct Cell {
    std::atomic<uint64_t> requests{0}, bytes{0};
  };
  std::array<Cell, io_op_count> cells_;
  std::atomic<uint64_t> failed_{0};
};

}  // namespace karst::block

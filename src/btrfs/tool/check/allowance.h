// Memory for what grows with the file system and is kept until the check ends: tree blocks, roots and their
// links, extents with checksums for a part. It is counted before it is taken. Thread-safe.
#pragma once
#include <atomic>
#include <cstdint>
#include <string_view>

#include "core/result.h"

namespace karst::btrfs::check {

class Allowance {
 public:
  explicit Allowance(uint64_t bytes) : bytes_(bytes) {}
  Allowance(const Allowance&) = delete;
  Allowance& operator=(const Allowance&) = delete;

  // `what`: in the plural, for the error, err::limit, if that is more than is left.
  Result<void> take(uint64_t bytes, std::string_view what) {
    uint64_t before = taken_.load(std::memory_order_relaxed);
    do {
      if (bytes > bytes_ - before)
        return Error::make(karst::err::limit,
                           "{} need {} bytes of memory to be remembered, {} of {} are left", what, bytes,
                           bytes_ - before, bytes_);
    } while (!taken_.compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
    return {};
  }

 private:
  const uint64_t bytes_;
  std::atomic<uint64_t> taken_{0};  // never above bytes_
};

}  // namespace karst::btrfs::check

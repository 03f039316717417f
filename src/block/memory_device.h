// A device of memory that takes only the pages written: for tests, scratch space and crash images.
//
// Everything is stable at once; flush does nothing. Each block (up to 64 KiB of them) is read and written
// whole, whatever other threads do.
#pragma once
#include <array>
#include <memory>
#include <string>

#include "block/device.h"
#include "core/mutex.h"

namespace karst::block {

inline constexpr LockClass memory_stripe_lock{"block.memory.stripe"};

class MemoryDevice final : public Device {
 public:
  static Result<std::unique_ptr<MemoryDevice>> create(uint64_t size, uint32_t block_size = 512,
                                                      std::string name = "mem:");
  ~MemoryDevice() override;

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_; }
  uint32_t block_size() const override { return block_size_; }
  bool writable() const override { return true; }

 protected:
  Result<void> perform(const IoRequest& request) override;

 private:
  MemoryDevice(std::byte* memory, uint64_t size, uint32_t block_size, std::string name);
  template <typename F>
  Result<void> for_each_stripe(const IoRequest& request, F&& each);
  void clear(uint64_t offset, uint64_t length);

  // Constant after create.
  std::byte* const memory_;  // mapped without reserve: pages appear when they are written
  const uint64_t size_;
  const uint32_t block_size_;
  const std::string name_;
  // Stripe i of the device (64 KiB each) is guarded by lock i modulo their number. One is held at a time.
  struct Stripe {
    SharedMutex mutex{memory_stripe_lock};
  };
  std::array<Stripe, 64> stripes_;
};

}  // namespace karst::block

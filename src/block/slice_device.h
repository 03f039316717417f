// A part of a device, as a device.
#pragma once
#include "block/device.h"

namespace karst::block {

class SliceDevice final : public Device {
 public:
  // Bytes [offset, offset + length) of the one below, which outlives this; both multiples of its block size.
  SliceDevice(Device& below, uint64_t offset, uint64_t length, std::string name);

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return length_.load(std::memory_order_acquire); }
  uint32_t block_size() const override { return below_.block_size(); }
  bool writable() const override { return below_.writable(); }
  // Within the one below.
  Result<void> resize(uint64_t size) override;
  std::string identity() const override;
  std::optional<DirectIo> begin_direct(const IoRequest& request) override;
  void end_direct(const DirectIo& io) override { below_.end_direct(io); }
  Result<void> extents(uint64_t offset, uint64_t length, ExtentListener each) override;
  void will_read(uint64_t offset, uint64_t length) override;

 protected:
  Result<void> perform(const IoRequest& request) override;

 private:
  IoRequest moved(const IoRequest& request) const;

  Device& below_;
  const uint64_t offset_;
  std::atomic<uint64_t> length_;
  const std::string name_;
};

}  // namespace karst::block

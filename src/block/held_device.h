// Another device under a name of its own, which keeps alive what that one needs.
#pragma once
#include <memory>
#include <string>

#include "block/device.h"

namespace karst::block {

class HeldDevice final : public Device {
 public:
  // With std::shared_ptr's aliasing, whatever owns the device is what is kept. Not writable: writes are
  // refused, whatever the device below allows.
  HeldDevice(std::shared_ptr<Device> below, std::string name, bool writable)
      : below_(std::move(below)), name_(std::move(name)), writable_(writable && below_->writable()) {}

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return below_->size(); }
  uint32_t block_size() const override { return below_->block_size(); }
  bool writable() const override { return writable_; }
  Result<void> resize(uint64_t size) override { return below_->resize(size); }
  std::string identity() const override { return below_->identity(); }
  // Not what makes stable: the device below has to hear of its failure, to remember it.
  std::optional<DirectIo> begin_direct(const IoRequest& request) override {
    return makes_stable(request) || abandoned_.load(std::memory_order_relaxed)
               ? std::nullopt
               : below_->begin_direct(request);
  }
  void end_direct(const DirectIo& io) override { below_->end_direct(io); }
  Result<void> extents(uint64_t offset, uint64_t length, ExtentListener each) override {
    return below_->extents(offset, length, each);
  }
  // Ends this one: others may use the device below.
  void abandon() override { abandoned_.store(true, std::memory_order_relaxed); }
  void will_read(uint64_t offset, uint64_t length) override { below_->will_read(offset, length); }

 protected:
  Result<void> perform(const IoRequest& request) override {
    if (abandoned_.load(std::memory_order_relaxed))
      return Error(err::cancelled, "nobody needs the device any more").at("device", name_);
    return below_->resubmit_unaccounted(request.again());
  }
  bool failure_loses_writes() const override { return false; }  // the one below remembers

 private:
  const std::shared_ptr<Device> below_;
  const std::string name_;
  const bool writable_;
  std::atomic<bool> abandoned_{false};
};

}  // namespace karst::block

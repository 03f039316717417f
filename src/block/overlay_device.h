// A device whose writes stay in memory, over another that is only read: crash images, trial runs, checks
// that repair nothing.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "block/device.h"
#include "core/mutex.h"

namespace karst::block {

inline constexpr LockClass overlay_lock{"block.overlay", {.no_block = true}};  // only memory is copied

class OverlayDevice final : public Device {
 public:
  // The device below must outlive this one and not change meanwhile.
  explicit OverlayDevice(Device& below);

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return below_.size(); }
  uint32_t block_size() const override { return below_.block_size(); }
  bool writable() const override { return true; }
  // Blocks held in memory.
  size_t changed_blocks() const;

 protected:
  Result<void> perform(const IoRequest& request) override;

 private:
  std::byte* own_block_locked(uint64_t block) REQUIRES(mutex_);
  template <typename F>
  void for_each_block(uint64_t offset, uint64_t length, F&& each) const;

  Device& below_;
  const std::string name_;
  mutable SharedMutex mutex_{overlay_lock};
  std::unordered_map<uint64_t, std::unique_ptr<std::byte[]>> blocks_ GUARDED_BY(mutex_);
};

}  // namespace karst::block

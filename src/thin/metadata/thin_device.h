// A thin device that somebody uses, as the pool's metadata keeps it.
#pragma once
#include <atomic>
#include <cstdint>

#include "core/refcount.h"
#include "thin/format/errors.h"
#include "thin/format/ids.h"

namespace karst::thin {

// Told of a device's mappings as they change (and, by tell(), as they are), under thin.metadata.
class MappingWatcher {
 public:
  virtual ~MappingWatcher() = default;
  virtual void mapped(VirtualBlock block, Mapping mapping) = 0;
  virtual void unmapped(VirtualBlock from, VirtualBlock to) = 0;
  virtual void forget_all() = 0;  // a transaction was given up
};

// A device that somebody uses. Obtained from open_device(); lives until the last ThinDeviceRef is gone.
class ThinDevice {
 public:
  explicit ThinDevice(DeviceId id) : id_(id) {}
  DeviceId id() const { return id_; }
  RefCount& ref_count() { return count_; }
  // Whether a mapping is (or may be) used by others too. Lock-free.
  bool is_shared(const Mapping& mapping) const {
    return snapshotted_time_.load(std::memory_order_acquire) > mapping.time;
  }
  // A transaction with changes of this device was given up: what was written since the commit before it may
  // be lost, and a flush cannot be answered with success.
  bool has_lost_changes() const { return lost_changes_.load(std::memory_order_acquire); }
  // The transaction that changed it last; durable if that is (PoolMetadata::is_durable).
  uint64_t changed_in() const { return changed_in_.load(std::memory_order_acquire); }

 private:
  friend class PoolMetadata;
  const DeviceId id_;
  RefCount count_;
  std::atomic<uint32_t> snapshotted_time_{0};
  std::atomic<bool> lost_changes_{false};
  std::atomic<uint64_t> changed_in_{0};
  // Guarded by thin.metadata.
  bool exists_ = true;  // false once a transaction that made it was given up
  MetadataBlock root_{};
  uint64_t mapped_blocks_ = 0;
  uint64_t transaction_id_ = 0;
  uint32_t creation_time_ = 0;
  bool details_changed_ = false;
  MappingWatcher* watcher_ = nullptr;
  bool owned_ = false;  // the path to its root is the transaction's own; root_ may differ from the tree's
};
using ThinDeviceRef = Ref<ThinDevice>;

inline Error no_such_device(DeviceId id) {
  return Error::make(err::no_device, "no thin device {} in the pool", id);
}

}  // namespace karst::thin

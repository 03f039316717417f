// PoolMetadata: the devices of the pool.
#include "thin/metadata/pool_metadata.h"

#include <algorithm>

#include "thin/format/errors.h"
#include "thin/metadata/pool_trees.h"

namespace karst::thin {
Result<bool> PoolMetadata::exists(DeviceId id) {
  if (const auto dirty = dirty_.find(id); dirty != dirty_.end()) return true;
  return TRY(state_->details.find(state_->details_at, id)).has_value();
}

Result<void> PoolMetadata::reload_device(ThinDevice& device) {
  PoolTrees& state = *state_;
  const auto root = TRY(state.roots.find(state.roots_at, device.id_));
  const auto found = TRY(state.details.find(state.details_at, device.id_));
  if (!root || !found) return no_such_device(device.id_);
  const auto details = found->value<DeviceDetails>();
  device.root_ = MetadataBlock{root->value<le64>().value()};
  device.mapped_blocks_ = details.mapped_blocks;
  device.transaction_id_ = details.transaction_id;
  device.creation_time_ = details.creation_time;
  device.snapshotted_time_.store(details.snapshotted_time, std::memory_order_release);
  device.details_changed_ = device.owned_ = false;
  return {};
}

Result<ThinDeviceRef> PoolMetadata::device_locked(DeviceId id) {
  if (const auto open = open_.find(id); open != open_.end() && open->second->exists_) return open->second;
  auto device = ThinDeviceRef::adopt(new ThinDevice(id));
  TRY(reload_device(*device));
  open_[id] = device;
  return device;
}

Result<ThinDeviceRef> PoolMetadata::open_device(DeviceId id) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  return device_locked(id);
}

Result<std::vector<DeviceId>> PoolMetadata::devices() {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  std::vector<DeviceId> ids;
  TRY(state_->details.walk(state_->details_at, 0, uint64_t{max_device_id} + 1,
                           [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
                             for (uint32_t i = begin; i < end; ++i)
                               ids.push_back(static_cast<DeviceId>(leaf.key(i)));
                             return true;
                           }));
  return ids;
}

// Enters a device in both trees.
Result<void> PoolMetadata::add_device(DeviceId id, MetadataBlock root, uint64_t mapped_blocks) {
  PoolTrees& state = *state_;
  state.roots_at = TRY(state.roots.insert(state.roots_at, id, le64(raw(root))));
  const DeviceDetails details{mapped_blocks, transaction_id_, time_, time_};
  state.details_at = TRY(state.details.insert(state.details_at, id, details));
  return {};
}

Result<void> PoolMetadata::create_thin(DeviceId id) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  if (TRY(exists(id))) return Error::make(err::exists, "thin device {} exists already", id);
  TRY(begin_change());
  TRY(add_device(id, TRY(state_->mappings.create()), 0));
  end_change();
  return {};
}

Result<void> PoolMetadata::create_snap(DeviceId id, DeviceId origin_id) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  if (TRY(exists(id))) return Error::make(err::exists, "thin device {} exists already", id);
  const ThinDeviceRef origin = TRY(device_locked(origin_id));
  TRY(begin_change());
  TRY(put_root(*origin));
  TRY(state_->store.counts().retain(origin->root_));
  ++time_;
  TRY(add_device(id, origin->root_, origin->mapped_blocks_));
  origin->snapshotted_time_.store(time_, std::memory_order_release);
  origin->details_changed_ = true;
  dirty_[origin_id] = origin;
  end_change();
  return {};
}

Result<void> PoolMetadata::delete_device(DeviceId id) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  if (const auto open = open_.find(id); open != open_.end()) {
    // Only this list, and those of what changed, may have it.
    const auto ours =
        1 + (dirty_.contains(id) ? 1 : 0) +
        std::ranges::count_if(in_commit_, [&](const auto& device) { return device->id_ == id; });
    if (open->second->ref_count().value() > ours)
      return Error::make(err::busy, "thin device {} is in use", id);
  }
  const ThinDeviceRef device = TRY(device_locked(id));
  TRY(begin_change());
  TRY(put_root(*device));
  PoolTrees& state = *state_;
  state.details_at = TRY(state.details.erase(state.details_at, id));
  state.roots_at = TRY(state.roots.erase(state.roots_at, id));
  dirty_.erase(id);
  open_.erase(id);
  TRY(state.mappings.release(device->root_));
  end_change();
  return {};
}

// From here on the device's root may be replaced without telling the tree above.
Result<void> PoolMetadata::own(ThinDevice& device) {
  if (!device.exists_) return no_such_device(device.id_);
  if (device.owned_) return {};
  state_->roots_at = TRY(state_->roots.own_path(state_->roots_at, device.id_));
  device.owned_ = true;
  dirty_[device.id_] = ThinDeviceRef::share(device);
  return {};
}

Result<void> PoolMetadata::put_root(ThinDevice& device) {
  if (!device.owned_) return {};
  state_->roots_at = TRY(state_->roots.insert(state_->roots_at, device.id_, le64(raw(device.root_))));
  device.owned_ = false;
  return {};
}

Result<void> PoolMetadata::put_devices() {
  for (auto& [id, device] : dirty_) {
    TRY(put_root(*device));
    if (!device->details_changed_) continue;
    const DeviceDetails details{device->mapped_blocks_, device->transaction_id_, device->creation_time_,
                                device->snapshotted_time_.load(std::memory_order_relaxed)};
    state_->details_at = TRY(state_->details.insert(state_->details_at, id, details));
    device->details_changed_ = false;
  }
  for (auto& [id, device] : dirty_) in_commit_.push_back(std::move(device));
  dirty_.clear();
  std::erase_if(open_, [](const auto& known) { return known.second->ref_count().value() == 1; });
  return {};
}

}  // namespace karst::thin

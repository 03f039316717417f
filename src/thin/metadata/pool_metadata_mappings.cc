// PoolMetadata: what devices map.
#include "thin/metadata/pool_metadata.h"

#include "thin/format/errors.h"
#include "thin/metadata/pool_trees.h"

namespace karst::thin {
// Whoever follows it does not look again whether it leads out of the data device (TH-057).
Result<Mapping> PoolMetadata::mapping_in(NodeView leaf, uint32_t at) const {
  const Mapping mapping = Mapping::unpack(leaf.value_as<le64>(at));
  if (raw(mapping.block) < state_->data.blocks()) return mapping;
  return Error(err::node_bounds, "a block is mapped to where the data device has none")
      .at("block", leaf.number())
      .at("virtual block", leaf.key(at))
      .expected(fmt::format("less than {}", state_->data.blocks()), raw(mapping.block));
}

Result<std::optional<Mapping>> PoolMetadata::find(const ThinDevice& device, VirtualBlock block) {
  SharedLock lock(lock_);
  TRY(check_usable(device));
  const auto found = TRY(state_->mappings.find(device.root_, raw(block)));
  if (!found) return std::optional<Mapping>();
  return std::optional<Mapping>(TRY(mapping_in(found->leaf.node(), found->at)));
}

Result<void> PoolMetadata::walk(const ThinDevice& device, VirtualBlock from, VirtualBlock to,
                                FunctionRef<bool(VirtualBlock, Mapping)> each) {
  SharedLock lock(lock_);
  TRY(check_usable(device));
  return state_->mappings.walk(
      device.root_, raw(from), raw(to),
      [&](NodeView leaf, uint32_t begin, uint32_t end) REQUIRES_SHARED(lock_) -> Result<bool> {
        for (uint32_t i = begin; i < end; ++i)
          if (!each(VirtualBlock{leaf.key(i)}, Mapping::unpack(leaf.value_as<le64>(i)))) return false;
        return true;
      });
}

Result<void> PoolMetadata::tell(const ThinDevice& device, VirtualBlock from, VirtualBlock to) {
  SharedLock lock(lock_);
  TRY(check_usable(device));
  uint64_t next = raw(from);
  const auto gap_until = [&](uint64_t end) {
    if (next < end) device.watcher_->unmapped(VirtualBlock{next}, VirtualBlock{end});
  };
  TRY(state_->mappings.walk(device.root_, raw(from), raw(to),
                            [&](NodeView leaf, uint32_t begin, uint32_t end)
                                REQUIRES_SHARED(lock_) -> Result<bool> {
                                  for (uint32_t i = begin; i < end; ++i) {
                                    gap_until(leaf.key(i));
                                    // What cannot be followed stays unknown; who asks for it alone is told
                                    // why.
                                    if (const auto mapping = mapping_in(leaf, i))
                                      device.watcher_->mapped(VirtualBlock{leaf.key(i)}, *mapping);
                                    next = leaf.key(i) + 1;
                                  }
                                  return true;
                                }));
  gap_until(raw(to));
  return {};
}

Result<Mapping> PoolMetadata::insert(ThinDevice& device, VirtualBlock virtual_block, DataBlock block) {
  ExclusiveLock lock(lock_);
  TRY(begin_change());
  TRY(own(device));
  TRY(state_->data.use(block));
  const Mapping mapping{block, time_ & Mapping::time_mask};
  std::optional<Mapping> before;
  auto note = [&](Bytes old) -> Result<void> {
    before = Mapping::unpack(*overlay<le64>(old));
    return {};
  };
  FunctionRef<Result<void>(Bytes)> replaced(note);
  const le64 value = mapping.pack();
  device.root_ = TRY(state_->mappings.insert(device.root_, raw(virtual_block), bytes_of(value), &replaced));
  note_change(device);
  if (before) {
    TRY(state_->data.release(before->block));
  } else {
    ++device.mapped_blocks_;
    device.details_changed_ = true;
  }
  if (device.watcher_ != nullptr) device.watcher_->mapped(virtual_block, mapping);
  end_change();
  return mapping;
}

Result<void> PoolMetadata::erase(ThinDevice& device, VirtualBlock from, VirtualBlock to, Freed freed,
                                 FunctionRef<void(VirtualBlock, Mapping, bool last)> each) {
  ExclusiveLock lock(lock_);
  TRY(begin_change());
  TRY(own(device));
  note_change(device);
  PoolTrees& state = *state_;
  auto erased = [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<void> {
    for (uint32_t i = begin; i < end; ++i) {
      const Mapping mapping = Mapping::unpack(leaf.value_as<le64>(i));
      const bool last = TRY(state.data.release(mapping.block, freed));
      each(VirtualBlock{leaf.key(i)}, mapping, last);
    }
    device.mapped_blocks_ -= end - begin;
    device.details_changed_ = true;
    return {};
  };
  device.root_ = TRY(state.mappings.erase(device.root_, raw(from), raw(to), erased));
  if (device.watcher_ != nullptr) device.watcher_->unmapped(from, to);
  end_change();
  return {};
}

void PoolMetadata::give_back(DataBlock begin, uint64_t count) {
  ExclusiveLock lock(lock_);
  if (!state_ || failed_) return;
  state_->data.give_back(begin, count);
  // So that a commit comes, which makes them available.
  changed_ = true;
}

Result<PoolMetadata::Details> PoolMetadata::details(DeviceId id) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  const ThinDeviceRef device = TRY(device_locked(id));
  Details details{.mapped_blocks = device->mapped_blocks_,
                  .transaction_id = device->transaction_id_,
                  .creation_time = device->creation_time_,
                  .snapshotted_time = device->snapshotted_time_.load(std::memory_order_relaxed),
                  .highest_mapped = {}};
  if (const auto last = TRY(state_->mappings.last(device->root_)))
    details.highest_mapped = VirtualBlock{last->key()};
  return details;
}

}  // namespace karst::thin

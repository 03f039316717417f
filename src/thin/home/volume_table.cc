#include "thin/home/volume_table.h"

#include <algorithm>

#include "thin/pool/features.h"

namespace karst::thin {

bool means_volume(std::string_view name_or_id, const std::string& name, DeviceId id) {
  const auto number = parse_number(name_or_id);
  return number ? *number == id : name_or_id == name;
}

const VolumeEntry* VolumeTable::at(DeviceId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &found->second;
}

const VolumeEntry* VolumeTable::find(std::string_view name_or_id) const {
  const VolumeEntry* found = nullptr;
  if (const auto id = parse_number(name_or_id)) {
    if (*id <= max_device_id) found = at(static_cast<DeviceId>(*id));
  } else if (const auto named = by_name_.find(std::string(name_or_id)); named != by_name_.end()) {
    found = at(named->second);
  }
  using State = VolumeEntry::State;
  if (found == nullptr || found->state == State::deleting || found->state == State::importing) return nullptr;
  return found;
}

std::optional<DeviceId> VolumeTable::free_id() const {
  for (auto next = by_id_.lower_bound(none_free_below_);
       next != by_id_.end() && next->first == none_free_below_; ++next)
    ++none_free_below_;
  return none_free_below_ <= max_device_id ? std::optional(none_free_below_) : std::nullopt;
}

bool VolumeTable::put(VolumeEntry entry) {
  const auto [slot, is_new] = by_id_.try_emplace(entry.id);
  const auto undo = [&, slot = slot, is_new = is_new] {
    if (is_new) by_id_.erase(slot);
  };
  try {
    if (by_name_.try_emplace(entry.name, entry.id).first->second != entry.id) {
      undo();
      return false;
    }
  } catch (...) {
    undo();
    throw;
  }
  if (!is_new && slot->second.name != entry.name) by_name_.erase(slot->second.name);
  slot->second = std::move(entry);
  return true;
}

void VolumeTable::remove(DeviceId id) {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return;
  by_name_.erase(found->second.name);
  by_id_.erase(found);
  none_free_below_ = std::min(none_free_below_, id);
}

}  // namespace karst::thin

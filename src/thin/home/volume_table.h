// The volumes of a pool by id and by name, each of which is one volume's.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "thin/format/ids.h"

namespace karst::thin {

// A volume or snapshot by name.
struct VolumeEntry {
  DeviceId id = 0;
  std::string name;
  uint64_t size = 0;        // bytes
  std::string origin;       // an external one: a path; empty for none
  std::string snapshot_of;  // the name it had then; empty for none
  bool read_only = false;
  // Written before the device is made or deleted, so that a crash between leaves no device that nobody knows:
  // what is being made is made or forgotten when the pool is next opened, what is being deleted is deleted,
  // and so is what is being filled from elsewhere.
  enum class State : uint8_t { ready, creating, deleting, importing } state = State::ready;
  bool operator==(const VolumeEntry&) const = default;
};

// Whether that is what is meant by a volume's name, or its id as digits.
bool means_volume(std::string_view name_or_id, const std::string& name, DeviceId id);

// Not thread-safe. Pointers to entries last until the next change.
class VolumeTable {
 public:
  // Whatever its state.
  const VolumeEntry* at(DeviceId id) const;
  bool has_name(std::string_view name) const { return by_name_.contains(std::string(name)); }
  // By name, or by id as digits; nullptr if there is none. Those that are being deleted or imported are not
  // there.
  const VolumeEntry* find(std::string_view name_or_id) const;
  // The lowest that no volume has.
  std::optional<DeviceId> free_id() const;

  // Adds the entry, or replaces the one of its id. False, and nothing is changed, if another has its name.
  bool put(VolumeEntry entry);
  void remove(DeviceId id);

  size_t size() const { return by_id_.size(); }
  bool empty() const { return by_id_.empty(); }
  bool operator==(const VolumeTable& other) const { return by_id_ == other.by_id_; }

  // In the order of ids.
  class Iterator {
   public:
    explicit Iterator(std::map<DeviceId, VolumeEntry>::const_iterator at) : at_(at) {}
    const VolumeEntry& operator*() const { return at_->second; }
    const VolumeEntry* operator->() const { return &at_->second; }
    Iterator& operator++() {
      ++at_;
      return *this;
    }
    bool operator==(const Iterator&) const = default;

   private:
    std::map<DeviceId, VolumeEntry>::const_iterator at_;
  };
  Iterator begin() const { return Iterator(by_id_.begin()); }
  Iterator end() const { return Iterator(by_id_.end()); }

 private:
  std::map<DeviceId, VolumeEntry> by_id_;
  std::unordered_map<std::string, DeviceId> by_name_;
  mutable DeviceId none_free_below_ = 0;
};

}  // namespace karst::thin

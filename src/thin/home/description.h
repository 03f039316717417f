// What a pool's metadata does not say: where it is, and how its devices are called, how large they are and
// what they are made of. Kept as JSON in the pool's file (pool_file.h); docs/json/thin-pool.schema.json
// describes it.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/uuid.h"
#include "thin/format/ids.h"
#include "thin/pool/features.h"

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

struct PoolDescription {
  Uuid uuid{};
  std::string metadata, data;                 // devices; empty: in the pool's file itself
  uint64_t metadata_size = 0, data_size = 0;  // bytes
  uint32_t block_sectors = 0;
  uint64_t low_water_blocks = 0;
  uint64_t no_space_timeout_seconds = 60;
  PoolFeatures features;
  std::vector<VolumeEntry> volumes;  // in the order of their making

  // By name, or by id as digits; nullptr if there is none. Those that are being deleted or imported are not
  // there.
  const VolumeEntry* find(std::string_view name_or_id) const;
  VolumeEntry* find(DeviceId id);
  // The lowest that no volume has.
  std::optional<DeviceId> free_id() const;
  bool operator==(const PoolDescription&) const = default;
};

// Letters, digits and ._@:+/- , at most 255, and not digits alone, which are an id.
Result<void> check_volume_name(std::string_view name);

nlohmann::ordered_json to_json(const PoolDescription& description);
nlohmann::ordered_json to_json(const VolumeEntry& volume);
// err::corrupt if something is missing or wrong; what is not known is passed over.
Result<PoolDescription> description_from_json(const nlohmann::ordered_json& json);

}  // namespace karst::thin

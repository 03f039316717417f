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
#include "thin/home/volume_table.h"
#include "thin/pool/features.h"

namespace karst::thin {

struct PoolDescription {
  Uuid uuid{};
  std::string metadata, data;                 // devices; empty: in the pool's file itself
  uint64_t metadata_size = 0, data_size = 0;  // bytes
  uint32_t block_sectors = 0;
  uint64_t low_water_blocks = 0;
  uint64_t no_space_timeout_seconds = 60;
  PoolFeatures features;
  VolumeTable volumes;

  bool operator==(const PoolDescription&) const = default;
};

// Letters, digits and ._@:+/- , at most 255, and not digits alone, which are an id.
Result<void> check_volume_name(std::string_view name);

nlohmann::ordered_json to_json(const PoolDescription& description);
nlohmann::ordered_json to_json(const VolumeEntry& volume);
// What could be read again: err::invalid for an id or a name that is none.
Result<void> check_volume(const VolumeEntry& volume);
// Puts it into the table. err::corrupt if its id, or its name, is none or another's; JSON's exceptions.
Result<void> put_volume(const nlohmann::ordered_json& json, VolumeTable& volumes);
// err::corrupt if something is missing or wrong; what is not known is passed over.
Result<PoolDescription> description_from_json(const nlohmann::ordered_json& json);

}  // namespace karst::thin

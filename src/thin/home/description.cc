#include "thin/home/description.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "thin/format/errors.h"

namespace karst::thin {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* state_words[] = {"ready", "creating", "deleting", "importing"};

struct Flag {
  const char* name;
  bool PoolFeatures::*flag;
};
constexpr Flag flags[] = {{"read_only", &PoolFeatures::read_only},
                          {"zero_new_blocks", &PoolFeatures::zero_new_blocks},
                          {"handle_discards", &PoolFeatures::handle_discards},
                          {"discard_passdown", &PoolFeatures::discard_passdown},
                          {"error_if_no_space", &PoolFeatures::error_if_no_space}};

Json or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }
std::string text_or_empty(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? std::string() : found->get<std::string>();
}

VolumeEntry volume_from_json(const Json& json) {
  VolumeEntry volume;
  volume.id = json.at("id").get<DeviceId>();
  volume.name = json.at("name").get<std::string>();
  volume.size = json.at("size").get<uint64_t>();
  volume.origin = text_or_empty(json, "origin");
  volume.snapshot_of = text_or_empty(json, "snapshot_of");
  volume.read_only = json.at("read_only").get<bool>();
  const auto state = json.value("state", std::string("ready"));
  for (unsigned i = 0; i < std::size(state_words); ++i)
    if (state == state_words[i]) volume.state = static_cast<VolumeEntry::State>(i);
  return volume;
}

Result<PoolDescription> parse(const Json& json) {
  PoolDescription parsed;
  if (const auto uuid = Uuid::parse(json.at("uuid").get<std::string>())) parsed.uuid = *uuid;
  parsed.metadata = text_or_empty(json, "metadata");
  parsed.data = text_or_empty(json, "data");
  parsed.metadata_size = json.at("metadata_size").get<uint64_t>();
  parsed.data_size = json.at("data_size").get<uint64_t>();
  parsed.block_sectors = static_cast<uint32_t>(json.at("block_size").get<uint64_t>() / sector_size);
  parsed.low_water_blocks = json.at("low_water_blocks").get<uint64_t>();
  parsed.no_space_timeout_seconds = json.at("no_space_timeout").get<uint64_t>();
  for (const Flag& flag : flags) parsed.features.*flag.flag = json.at(flag.name).get<bool>();
  if (!is_data_block_size(parsed.block_sectors))
    return Error(err::corrupt, "the pool's file has an impossible block size");
  for (const Json& volume : json.at("volumes")) {
    if (parsed.volumes.at(volume.at("id").get<DeviceId>()) != nullptr)
      return Error::make(err::corrupt, "the pool's file has volume id {} twice",
                         volume.at("id").get<DeviceId>());
    TRY(put_volume(volume, parsed.volumes));
  }
  return parsed;
}

bool is_id(std::string_view text) { return parse_number(text).has_value(); }

}  // namespace

Result<void> check_volume_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._@:+/-").find(c) != std::string_view::npos;
  };
  if (!name.empty() && name.size() <= 255 && std::ranges::all_of(name, allowed) && !is_id(name)) return {};
  return Error::make(
      err::invalid,
      "'{}' is no name for a volume: letters, digits and ._@:+/- , at most 255, not digits alone", name);
}

Json to_json(const VolumeEntry& volume) {
  Json json;
  json["id"] = volume.id;
  json["name"] = volume.name;
  json["size"] = volume.size;
  json["origin"] = or_null(volume.origin);
  json["snapshot_of"] = or_null(volume.snapshot_of);
  json["read_only"] = volume.read_only;
  json["state"] = state_words[static_cast<unsigned>(volume.state)];
  return json;
}

Result<void> check_volume(const VolumeEntry& volume) {
  if (volume.id > max_device_id) return Error::make(err::invalid, "Invalid device id: {}", volume.id);
  return check_volume_name(volume.name);
}

Result<void> put_volume(const Json& json, VolumeTable& volumes) {
  VolumeEntry volume = volume_from_json(json);
  if (!check_volume(volume))
    return Error::make(err::corrupt, "the pool's file has a volume of id {} and name '{}'", volume.id,
                       volume.name);
  const std::string name = volume.name;
  if (volumes.put(std::move(volume))) return {};
  return Error::make(err::corrupt, "the pool's file has the volume name '{}' twice", name);
}

Json to_json(const PoolDescription& pool) {
  Json json;
  json["uuid"] = pool.uuid.text();
  json["metadata"] = or_null(pool.metadata);
  json["data"] = or_null(pool.data);
  json["metadata_size"] = pool.metadata_size;
  json["data_size"] = pool.data_size;
  json["block_size"] = uint64_t{pool.block_sectors} * sector_size;
  json["low_water_blocks"] = pool.low_water_blocks;
  json["no_space_timeout"] = pool.no_space_timeout_seconds;
  for (const Flag& flag : flags) json[flag.name] = pool.features.*flag.flag;
  json["volumes"] = Json::array();
  for (const VolumeEntry& volume : pool.volumes) json["volumes"].push_back(to_json(volume));
  return json;
}

Result<PoolDescription> description_from_json(const Json& json) {
  try {
    return parse(json);
  } catch (const Json::exception& exception) {
    return Error::make(err::corrupt, "the pool's file is not as it should be: {}", exception.what());
  }
}

}  // namespace karst::thin

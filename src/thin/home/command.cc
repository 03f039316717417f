#include "thin/home/command.h"

#include <nlohmann/json.hpp>

#include "core/without_throwing.h"
#include "thin/format/errors.h"
#include "thin/pool/status.h"

namespace karst::thin {
namespace {

using Json = nlohmann::ordered_json;

std::string text_of(const Json& request, const char* key) { return request.at(key).get<std::string>(); }
template <typename T>
std::optional<T> number_of(const Json& request, const char* key) {
  const auto found = request.find(key);
  if (found == request.end() || found->is_null()) return std::nullopt;
  return found->get<T>();
}

const char* mode_name(PoolMode mode) {
  switch (mode) {
    case PoolMode::write: return "write";
    case PoolMode::out_of_data_space: return "out_of_data_space";
    case PoolMode::out_of_metadata_space: return "out_of_metadata_space";
    case PoolMode::read_only: return "read_only";
    case PoolMode::fail: return "fail";
  }
  return "";
}

Json state_json(Home& home) {
  const Pool::Status status = home.pool().status();
  Json json;
  json["mode"] = mode_name(status.mode);
  json["needs_check"] = status.needs_check;
  json["transaction_id"] = status.transaction_id;
  json["metadata_snapshot"] = raw(status.held_root) != 0 ? Json(raw(status.held_root)) : Json();
  json["metadata_blocks"] = status.space.metadata_blocks;
  json["metadata_blocks_free"] = status.space.metadata_available;
  json["metadata_low_water_blocks"] = status.metadata_low_water;
  json["data_blocks"] = status.space.data_blocks;
  json["data_blocks_free"] = status.space.data_available;
  json["handle_discards"] = status.handle_discards;
  json["discard_passdown"] = status.discard_passdown;
  json["error_if_no_space"] = status.error_if_no_space;
  json["events"] = status.events;
  const uint64_t sectors = status.space.data_blocks * home.pool().block_size() / sector_size;
  json["status"] = fmt::format("0 {} {}", sectors, pool_status_line(status));
  return json;
}

// With what the pool says of the device.
Result<Json> volume_json(Home& home, const VolumeEntry& entry) {
  Json json = to_json(entry);
  const auto details = TRY(home.pool().metadata().details(entry.id));
  json["mapped"] = details.mapped_blocks * home.pool().block_size();
  json["transaction_id"] = details.transaction_id;
  json["creation_time"] = details.creation_time;
  json["snapshotted_time"] = details.snapshotted_time;
  return json;
}

Json requests_json(const block::IoCounts& counts) {
  Json json;
  for (size_t op = 0; op < counts.by_op.size(); ++op)
    json[name_of(static_cast<block::IoOp>(op))] = {{"requests", counts.by_op[op].requests},
                                                   {"bytes", counts.by_op[op].bytes}};
  json["failed"] = counts.failed;
  return json;
}

Result<Json> status(Home& home, const Json& request, const CancelToken&) {
  Json json = to_json(home.description());
  json.erase("volumes");
  json["file"] = home.path();
  if (!home.options().socket.empty()) json["socket"] = home.options().socket;
  json.update(state_json(home));
  if (!request.value("with_volumes", true)) return json;
  json["volumes"] = Json::array();
  for (const VolumeEntry& entry : home.description().volumes) {
    if (entry.state == VolumeEntry::State::importing) continue;  // nobody else's to open
    Json volume = to_json(entry);
    const auto device = home.pool().status(entry.id);
    volume["status"] =
        fmt::format("0 {} {}", entry.size / sector_size, volume_status_line(home.pool(), device));
    volume["requests"] = device && device->requests ? requests_json(*device->requests) : Json();
    json["volumes"].push_back(std::move(volume));
  }
  return json;
}

Result<Json> message(Home& home, const Json& request, const CancelToken&) {
  const auto answer = TRY(home.message(text_of(request, "text")));
  Json json;
  json["output"] = answer ? Json(*answer) : Json();
  return json;
}

Result<Json> volume_add(Home& home, const Json& request, const CancelToken& cancel) {
  if (request.contains("from"))
    return volume_json(home, TRY(home.import_volume({.name = text_of(request, "name"),
                                                     .from = text_of(request, "from"),
                                                     .format = request.value("format", std::string()),
                                                     .size = number_of<uint64_t>(request, "size"),
                                                     .id = number_of<DeviceId>(request, "id")},
                                                    cancel)));
  const auto entry =
      TRY(home.add_volume(text_of(request, "name"), request.at("size").get<uint64_t>(),
                          request.value("origin", std::string()), number_of<DeviceId>(request, "id")));
  return volume_json(home, entry);
}

Result<Json> volume_snapshot(Home& home, const Json& request, const CancelToken&) {
  const auto entry =
      TRY(home.add_snapshot(text_of(request, "of"), text_of(request, "name"),
                            request.value("read_only", false), number_of<DeviceId>(request, "id")));
  return volume_json(home, entry);
}

Result<Json> volume_remove(Home& home, const Json& request, const CancelToken&) {
  TRY(home.remove_volume(text_of(request, "name")));
  return Json::object();
}

Result<Json> volume_rename(Home& home, const Json& request, const CancelToken&) {
  TRY(home.rename_volume(text_of(request, "name"), text_of(request, "to")));
  return volume_json(home, TRY(home.volume(text_of(request, "to"))));
}

Result<Json> volume_resize(Home& home, const Json& request, const CancelToken&) {
  TRY(home.resize_volume(text_of(request, "name"), request.at("size").get<uint64_t>()));
  return volume_json(home, TRY(home.volume(text_of(request, "name"))));
}

Result<Json> imports(Home& home, const Json&, const CancelToken&) {
  Json json;
  json["imports"] = Json::array();
  for (const Imports::Status& import : home.imports())
    json["imports"].push_back({{"name", import.name},
                               {"id", import.id ? Json(*import.id) : Json()},
                               {"done", import.done},
                               {"total", import.total}});
  return json;
}

Result<Json> volume_list(Home& home, const Json&, const CancelToken&) {
  Json json;
  json["volumes"] = Json::array();
  for (const VolumeEntry& entry : home.description().volumes) {
    if (entry.state != VolumeEntry::State::ready) continue;
    auto volume = volume_json(home, entry);
    if (!volume && volume.error().is(err::no_device)) continue;  // removed meanwhile
    json["volumes"].push_back(TRY(std::move(volume)));
  }
  json.update(TRY(imports(home, {}, {})));
  return json;
}

Result<Json> grow(Home& home, const Json& request, const CancelToken&) {
  TRY(home.grow(number_of<uint64_t>(request, "data_size"), number_of<uint64_t>(request, "metadata_size")));
  return status(home, Json::object(), {});
}

Result<Json> events(Home& home, const Json& request, const CancelToken& cancel) {
  Json json;
  json["events"] = home.pool().wait_for_event(request.at("after").get<uint64_t>(), cancel);
  return json;
}

Result<Json> quiesce(Home& home, const Json&, const CancelToken&) {
  TRY(home.pool().quiesce());
  return Json::object();
}

struct Command {
  const char* name;
  Result<Json> (*run)(Home& home, const Json& request, const CancelToken& cancel);
};
constexpr Command commands[] = {
    {"status", status},
    {"message", message},
    {"volume-add", volume_add},
    {"volume-snapshot", volume_snapshot},
    {"volume-remove", volume_remove},
    {"volume-rename", volume_rename},
    {"volume-resize", volume_resize},
    {"volume-list", volume_list},
    {"imports", imports},
    {"grow", grow},
    {"events", events},
    {"quiesce", quiesce},
};

}  // namespace

Result<Json> execute(Home& home, const Json& request, const CancelToken& cancel) {
  return without_throwing([&]() -> Result<Json> {
    try {
      const auto name = text_of(request, "command");
      for (const Command& command : commands)
        if (name == command.name) return command.run(home, request, cancel);
      return Error::make(err::invalid, "no such command: '{}'", name);
    } catch (const Json::exception& exception) {
      return Error::make(err::invalid, "not a request: {}", exception.what());
    }
  });
}

}  // namespace karst::thin

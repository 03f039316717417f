// karst btrfs df: how the space is used, by type and profile.
#include "btrfs/tool/usage.h"
#include "cli/image_arguments.h"
#include "cli/output.h"

namespace karst::cli {
namespace {

struct DfArguments {
  ImageArguments image;
  bool raw = false;
};

const char* type_name(uint64_t flags) {
  namespace group = btrfs::block_group;
  if ((flags & group::data) && (flags & group::metadata)) return "Data+Metadata";
  if (flags & group::data) return "Data";
  if (flags & group::metadata) return "Metadata";
  return "System";
}

Json to_json(const btrfs::Usage& usage) {
  Json object;
  Json& spaces = object["spaces"] = Json::array();
  for (const auto& space : usage.spaces)
    spaces.push_back({{"type", type_name(space.flags)},
                      {"profile", space.profile->name},
                      {"total", space.total},
                      {"used", space.used},
                      {"device_bytes", space.device_bytes}});
  Json& devices = object["devices"] = Json::array();
  for (const auto& device : usage.devices)
    devices.push_back({{"devid", device.devid},
                       {"uuid", device.uuid.text()},
                       {"size", device.size},
                       {"allocated", device.allocated},
                       {"missing", device.missing}});
  return object;
}

Result<int> run_df(const Session& session, const DfArguments& arguments) {
  auto opened = TRY(arguments.image.open(session));
  btrfs::Usage usage = TRY(btrfs::measure_usage(opened.fs()));
  if (session.json()) {
    fmt::print("{}\n", to_json(usage).dump(2));
    return exit_ok;
  }
  auto size = [&](uint64_t bytes) { return arguments.raw ? fmt::format("{}", bytes) : size_text(bytes); };
  for (const auto& space : usage.spaces)
    fmt::print("{}, {}: total={}, used={}\n", type_name(space.flags), space.profile->name, size(space.total),
               size(space.used));
  for (const auto& device : usage.devices)
    fmt::print("Device {}: size={}, allocated={}{}\n", device.devid, size(device.size),
               size(device.allocated), device.missing ? ", missing" : "");
  return exit_ok;
}

}  // namespace

void add_btrfs_df(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("df", "Print how the space is used, by type and profile");
  auto arguments = std::make_shared<DfArguments>();
  arguments->image.declare(verb);
  verb.add_flag("-b,--raw", arguments->raw, "Print bytes");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_df(session, *arguments); });
}

}  // namespace karst::cli

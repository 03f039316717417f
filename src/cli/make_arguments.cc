#include "cli/make_arguments.h"

#include "block/open.h"
#include "btrfs/format/flag_names.h"
#include "cli/output.h"

namespace karst::cli {

void MakeArguments::declare(CLI::App& verb) {
  verb.add_option("-L,--label", label, "Label of the file system")->type_name("TEXT");
  verb.add_option("-U,--uuid", uuid, "UUID of the file system (default: random)")->type_name("UUID");
  verb.add_option("--device-uuid", device_uuid, "UUID of the first device (default: random)")
      ->type_name("UUID");
  verb.add_option("-d,--data", data_profile, "Profile of data (default: single)")->type_name("PROFILE");
  verb.add_option("-m,--metadata", metadata_profile,
                  "Profile of metadata (default: dup on one device, raid1 on several)")
      ->type_name("PROFILE");
  verb.add_flag("-M,--mixed", mixed, "Data and metadata in the same block groups");
  verb.add_option("-n,--nodesize", nodesize, "Size of tree blocks (default: 16384; mixed: sector size)")
      ->type_name("SIZE");
  verb.add_option("-s,--sectorsize", sectorsize, "Size of data blocks")
      ->type_name("SIZE")
      ->capture_default_str();
  verb.add_option("--csum,--checksum", checksum, "crc32c, xxhash, sha256 or blake2")
      ->type_name("NAME")
      ->capture_default_str();
  verb.add_option("-O,--features", features, "Features on or off (^); \"list\" names them")
      ->type_name("LIST")
      ->allow_extra_args(false);
  verb.add_flag("-f,--force", force, "Overwrite what is known to be there");
  verb.add_flag("-K,--nodiscard", no_discard, "Do not discard what is there first");
}

Result<btrfs::MakeOptions> MakeArguments::options() const {
  btrfs::MakeOptions options;
  options.label = label;
  options.discard = !no_discard;
  auto parse_uuid = [](const std::string& text, std::optional<Uuid>& into) -> Result<void> {
    if (text.empty()) return {};
    into = Uuid::parse(text);
    if (!into) return Error(err::invalid, fmt::format("not a UUID: {}", text));
    return {};
  };
  TRY(parse_uuid(uuid, options.fsid));
  TRY(parse_uuid(device_uuid, options.device_uuid));
  options.checksum = TRY(btrfs::parse_checksum_name(checksum));
  if (!data_profile.empty()) options.data_profile = TRY(btrfs::parse_profile(data_profile));
  if (!metadata_profile.empty()) options.metadata_profile = TRY(btrfs::parse_profile(metadata_profile));
  for (const std::string& list : features) TRY(btrfs::apply_features(options, list));
  if (mixed) options.incompat |= btrfs::incompat::mixed_groups;
  auto parse_size32 = [](const std::string& text) -> Result<uint32_t> {
    uint64_t bytes = TRY(block::parse_size(text));
    if (bytes > UINT32_MAX) return Error(err::invalid, fmt::format("size too large: {}", text));
    return static_cast<uint32_t>(bytes);
  };
  options.sectorsize = TRY(parse_size32(sectorsize));
  options.nodesize = !nodesize.empty() ? TRY(parse_size32(nodesize))
                     : options.mixed() ? options.sectorsize
                                       : std::max<uint32_t>(16384, options.sectorsize);
  return options;
}

namespace {

const char* type_word(uint64_t type) {
  if ((type & btrfs::block_group::data) && (type & btrfs::block_group::metadata)) return "Data+Metadata";
  if (type & btrfs::block_group::data) return "Data";
  return type & btrfs::block_group::system ? "System" : "Metadata";
}

std::vector<std::string> feature_names(const btrfs::MakeOptions& options) {
  std::vector<std::string> names;
  for (const btrfs::FeatureName& feature : btrfs::make_features()) {
    if (feature.name == std::string_view("fst") || feature.name == std::string_view("bgt")) continue;
    const bool has = (feature.quota && options.quotas) ||
                     (feature.incompat && (options.incompat & feature.incompat) == feature.incompat) ||
                     (feature.compat_ro && (options.compat_ro & feature.compat_ro) == feature.compat_ro);
    if (has) names.push_back(feature.name);
  }
  return names;
}

}  // namespace

void print_made(const btrfs::MakeReport& report, const btrfs::ImageWriter& writer,
                const std::vector<std::string>& paths) {
  const btrfs::MakeOptions& options = writer.options();
  fmt::print("Label:              {}\n", options.label.empty() ? "(null)" : shown_name(options.label));
  fmt::print("UUID:               {}\n", report.fsid);
  fmt::print("Node size:          {}\nSector size:        {}\n", options.nodesize, options.sectorsize);
  fmt::print("Filesystem size:    {}\n", size_text(report.total_bytes));
  fmt::print("Block group profiles:\n");
  for (const auto& chunk : report.chunks)
    fmt::print("  {:<17} {:<8} {:>12}\n", fmt::format("{}:", type_word(chunk.type)),
               btrfs::profile_of(chunk.type)->name, size_text(chunk.length));
  fmt::print("Features:           {}\n", fmt::join(feature_names(options), ", "));
  fmt::print("Checksum:           {}\n", checksum_name(options.checksum));
  fmt::print("Number of devices:  {}\nDevices:\n   ID        SIZE  PATH\n", report.devices.size());
  for (size_t i = 0; i < report.devices.size(); ++i)
    fmt::print("{:>5}  {:>10}  {}\n", report.devices[i].devid, size_text(report.devices[i].size),
               shown_name(paths[i]));
}

Json made_json(const btrfs::MakeReport& report, const btrfs::ImageWriter& writer,
               const std::vector<std::string>& paths) {
  const btrfs::MakeOptions& options = writer.options();
  Json object{{"uuid", report.fsid.text()},
              {"label", options.label},
              {"node_size", options.nodesize},
              {"sector_size", options.sectorsize},
              {"checksum", checksum_name(options.checksum)},
              {"features", feature_names(options)},
              {"total_bytes", report.total_bytes},
              {"bytes_used", report.bytes_used}};
  object["block_groups"] = Json::array();
  for (const auto& chunk : report.chunks)
    object["block_groups"].push_back({{"type", type_word(chunk.type)},
                                      {"profile", btrfs::profile_of(chunk.type)->name},
                                      {"length", chunk.length},
                                      {"used", chunk.used}});
  object["devices"] = Json::array();
  for (size_t i = 0; i < report.devices.size(); ++i) {
    Json device{{"devid", report.devices[i].devid}, {"size", report.devices[i].size}};
    set_name(device, "path", paths[i]);
    object["devices"].push_back(std::move(device));
  }
  return object;
}

}  // namespace karst::cli

#include "cli/damaged_arguments.h"
#include "cli/open_named.h"

namespace karst::cli {

void DamagedArguments::declare(CLI::App& verb) {
  verb.add_option("IMAGE", image, "Image file or block device with the file system")->required();
  verb.add_option("--device", more_devices, "A further device of the same file system (repeatable)")
      ->type_name("FILE")
      ->allow_extra_args(false);
  verb.add_option("-u,--super", super_mirror, "Use this copy of the superblock (0, 1, 2)")
      ->type_name("N")
      ->check(CLI::Range(0, 2));
  verb.add_flag("--ignore-checksums", ignore_checksums,
                "Use what does not match its checksum where there is nothing better");
  verb.add_option("--cache-size", cache_size, "Memory for cached blocks")
      ->type_name("SIZE")
      ->capture_default_str();
}

btrfs::DamagedOpenOptions DamagedArguments::options() const {
  btrfs::DamagedOpenOptions options;
  options.volume.super_mirror = super_mirror;
  options.ignore_checksums = ignore_checksums;
  return options;
}

Result<std::vector<std::unique_ptr<block::Device>>> DamagedArguments::open_devices() const {
  std::vector<std::string> names = more_devices;
  names.insert(names.begin(), image);
  return open_all_named(names);
}

Result<std::unique_ptr<cache::Cache>> DamagedArguments::make_cache() const {
  uint64_t limit = TRY(block::parse_size(cache_size));
  if (limit < 1 << 20) return Error(err::invalid, "--cache-size is below 1M");
  return std::make_unique<cache::Cache>(cache::CacheOptions{.limit = limit});
}

}  // namespace karst::cli

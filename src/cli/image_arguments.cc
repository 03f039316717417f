#include "cli/image_arguments.h"

#include "cli/open_named.h"

namespace karst::cli {

CLI::Validator size_at_least(uint64_t least) {
  auto check = [least](const std::string& text) {
    auto size = block::parse_size(text);
    if (!size) return size.error().what();
    return *size < least ? fmt::format("'{}' is less than {}", text, least) : std::string();
  };
  return CLI::Validator(check, "");
}

void add_threads(CLI::App& verb, unsigned& threads, const std::string& what) {
  verb.add_option("--threads", threads, what + " (default: one per processor)")
      ->type_name("N")
      ->check(CLI::Range(1, 256));
}

void add_memory(CLI::App& verb, std::string& memory, uint64_t least, const std::string& what) {
  verb.add_option("--memory", memory, what)
      ->type_name("SIZE")
      ->check(size_at_least(least))
      ->capture_default_str();
}

void ImageArguments::declare(CLI::App& verb) {
  verb.add_option("IMAGE", image, "Image file or block device with the file system")->required();
  verb.add_option("--device", more_devices, "A further device of the same file system (repeatable)")
      ->type_name("FILE")
      ->allow_extra_args(false);
  verb.add_option("--subvol", subvol, "Start in this subvolume, by its path from the top level")
      ->type_name("PATH");
  verb.add_option("--subvolid", subvolid, "Start in this subvolume, by its id (5: the top level)")
      ->type_name("ID");
  verb.add_option("--super", super_mirror, "Use this copy of the superblock (0, 1, 2)")
      ->type_name("N")
      ->check(CLI::Range(0, 2));
  verb.add_option("--use-backup", backup_root, "Use this backup of the tree roots (0 to 3)")
      ->type_name("N")
      ->check(CLI::Range(0, 3));
  verb.add_option("--cache-size", cache_size, "Memory for cached blocks")
      ->type_name("SIZE")
      ->check(size_at_least(1 << 20))
      ->capture_default_str();
  verb.add_flag("--norecovery", norecovery, "Do not show what a log left by a crash holds");
}

btrfs::ImageOptions ImageArguments::options() const {
  btrfs::ImageOptions options;
  options.open_device = open_named;
  options.devices.push_back(image);
  options.devices.insert(options.devices.end(), more_devices.begin(), more_devices.end());
  options.open.volume.super_mirror = super_mirror;
  options.open.backup_root = backup_root;
  options.replay_log = !norecovery;
  if (!subvol.empty()) options.subvol = subvol;
  options.subvolid = subvolid;
  return options;
}

Result<std::unique_ptr<cache::Cache>> ImageArguments::make_cache() const {
  return std::make_unique<cache::Cache>(cache::CacheOptions{.limit = TRY(block::parse_size(cache_size))});
}

Result<OpenedImage> ImageArguments::open(const Session& session) const {
  OpenedImage opened;
  opened.cache = TRY(make_cache());
  opened.image =
      TRY(btrfs::Image::open(options(), *opened.cache, session.log()).context([&] { return image; }));
  return opened;
}

}  // namespace karst::cli

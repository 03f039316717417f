// The arguments of every verb that opens an image, and opening it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "btrfs/tool/open_image.h"
#include "cli/session.h"

namespace karst::cli {

// An image and the cache under it.
struct OpenedImage {
  std::unique_ptr<cache::Cache> cache;
  std::unique_ptr<btrfs::Image> image;

  const btrfs::Filesystem& fs() const { return image->fs(); }
};

// For options that take a size: what is none, or below `least`, is wrong usage.
CLI::Validator size_at_least(uint64_t least);
// --threads, up to 256; left at 0 it means one per processor.
void add_threads(CLI::App& verb, unsigned& threads, const std::string& what);
// --memory, with what `memory` is as its default.
void add_memory(CLI::App& verb, std::string& memory, uint64_t least, const std::string& what);

struct ImageArguments {
  std::string image;
  std::vector<std::string> more_devices;
  std::string subvol;
  std::optional<uint64_t> subvolid;
  std::optional<int> super_mirror, backup_root;
  std::string cache_size = "256M";
  bool norecovery = false;

  // Declares IMAGE and the options.
  void declare(CLI::App& verb);
  btrfs::ImageOptions options() const;
  Result<std::unique_ptr<cache::Cache>> make_cache() const;
  Result<OpenedImage> open(const Session& session) const;
};

}  // namespace karst::cli

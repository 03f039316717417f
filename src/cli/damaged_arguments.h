// The arguments of verbs that open damaged images.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "btrfs/tool/restore/open_damaged.h"
#include "cli/session.h"

namespace karst::cli {

struct DamagedArguments {
  std::string image;
  std::vector<std::string> more_devices;
  std::optional<int> super_mirror;
  std::string cache_size = "256M";
  bool ignore_checksums = false;

  // Declares IMAGE and the options.
  void declare(CLI::App& verb);
  btrfs::DamagedOpenOptions options() const;
  Result<std::vector<std::unique_ptr<block::Device>>> open_devices() const;
  Result<std::unique_ptr<cache::Cache>> make_cache() const;
};

}  // namespace karst::cli

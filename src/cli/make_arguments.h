// The arguments of the verbs that make file systems.
#pragma once
#include <CLI/App.hpp>

#include <optional>
#include <string>
#include <vector>

#include "btrfs/tool/make/image_writer.h"
#include "cli/output.h"
#include "cli/session.h"

namespace karst::cli {

struct MakeArguments {
  std::string label, uuid, device_uuid, checksum = "crc32c", data_profile, metadata_profile;
  std::string nodesize, sectorsize = "4096", byte_count;
  std::vector<std::string> features;
  bool mixed = false, force = false, no_discard = false;

  void declare(CLI::App& verb);
  // Everything but what depends on the devices. err::invalid names the option.
  Result<btrfs::MakeOptions> options() const;
};

// What was made, in mkfs.btrfs's words.
void print_made(const btrfs::MakeReport& report, const btrfs::ImageWriter& writer,
                const std::vector<std::string>& paths);
Json made_json(const btrfs::MakeReport& report, const btrfs::ImageWriter& writer,
               const std::vector<std::string>& paths);

}  // namespace karst::cli

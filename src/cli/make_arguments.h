// The arguments of the verbs that make file systems, and the devices they are made on.
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
  // Sees that nothing known is overwritten (err::exists); before any of the devices is opened.
  Result<void> check(const std::vector<std::string>& paths) const;
  // Opens one device for writing; err::busy if somebody uses it. A file that is not there is made with
  // `size`; one that is there gets that size if it is given.
  Result<std::unique_ptr<block::Device>> open(const std::string& path, std::optional<uint64_t> size) const;
};

// What was made, in mkfs.btrfs's words.
void print_made(const btrfs::MakeReport& report, const btrfs::ImageWriter& writer,
                const std::vector<std::string>& paths);
Json made_json(const btrfs::MakeReport& report, const btrfs::ImageWriter& writer,
               const std::vector<std::string>& paths);

}  // namespace karst::cli

// karst btrfs mkfs: an empty file system on images or devices.
#include <ctime>

#include "block/open.h"
#include "cli/image_arguments.h"
#include "cli/make_arguments.h"
#include "cli/make_targets.h"
#include "cli/output.h"

namespace karst::cli {
namespace {

struct MkfsArguments {
  MakeArguments make;
  std::vector<std::string> devices;
  bool quiet = false;
};

void print_features() {
  fmt::print("Features (on by default where marked):\n");
  for (const btrfs::FeatureName& feature : btrfs::make_features())
    fmt::print("  {:<18} {} {}\n", feature.name, feature.on_by_default ? "+" : " ", feature.description);
}

Result<int> run_mkfs(const Session& session, const MkfsArguments& arguments) {
  if (std::find(arguments.make.features.begin(), arguments.make.features.end(), "list") !=
      arguments.make.features.end()) {
    print_features();
    return exit_ok;
  }
  if (arguments.devices.empty()) return Error(err::invalid, "no device given");
  btrfs::MakeOptions options = TRY(arguments.make.options());
  options.time = time(nullptr);
  std::optional<uint64_t> size;
  if (!arguments.make.byte_count.empty()) size = TRY(block::parse_size(arguments.make.byte_count));
  MakeTargets targets(session.log(), arguments.make.force);
  TRY(targets.open(arguments.devices, size, std::nullopt));
  auto writer = TRY(btrfs::ImageWriter::create(targets.take(), std::move(options)));
  targets.overwritten();
  TRY(writer->begin());
  TRY(writer->add_empty_top_level());
  btrfs::MakeReport report = TRY(writer->finish());
  TRY(targets.keep(report));
  if (session.json())
    fmt::print("{}\n", made_json(report, *writer, arguments.devices).dump(2));
  else if (!arguments.quiet)
    print_made(report, *writer, arguments.devices);
  return exit_ok;
}

}  // namespace

void add_btrfs_mkfs(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("mkfs", "Make an empty file system");
  auto arguments = std::make_shared<MkfsArguments>();
  arguments->make.declare(verb);
  verb.add_option("DEVICE", arguments->devices, "Images or block devices, together one file system");
  verb.add_option("-b,--byte-count", arguments->make.byte_count,
                  "Bytes of each device to use; a file is made or cut to that size")
      ->type_name("SIZE")
      ->check(size_at_least(1));
  verb.add_flag("-q,--quiet", arguments->quiet, "Print nothing if all is well");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_mkfs(session, *arguments); });
}

}  // namespace karst::cli

// karst thin repair: new metadata of what can be read of damaged metadata.
#include "block/open.h"
#include "cli/image_arguments.h"
#include "cli/output.h"
#include "cli/thin.h"
#include "cli/thin_arguments.h"
#include "thin/tool/restore.h"
#include "thin/tool/salvage.h"

namespace karst::cli {
namespace {

struct ThinRepairArguments {
  std::string input, output, cache_size = thin_cache_default;
  thin::DumpOptions options;
  unsigned threads = 0;
  bool force = false;
};

Result<int> run_thin_repair(const Session& session, const ThinRepairArguments& arguments) {
  TRY(check_other_device(arguments.input, arguments.output));
  const auto input = TRY(open_thin_metadata(arguments.input, block::OpenMode::read_only));
  const auto output = TRY(open_thin_target(arguments.output, arguments.force));
  cache::Cache cache({.limit = TRY(block::parse_size(arguments.cache_size))});
  const auto pool = TRY(WorkerPool::create({.name = "repair", .threads = arguments.threads}));
  const auto restorer = TRY(thin::Restorer::create(*output, {}));
  const auto lost = [](const std::string& text) { fmt::print(stderr, "lost: {}\n", text); };
  const auto report = TRY(thin::salvage(*input, cache, *pool, arguments.options, *restorer, lost));
  if (session.json())
    fmt::print("{}\n", Json{{"devices", report.devices},
                            {"mappings", report.mappings},
                            {"losses", report.losses},
                            {"roots_searched", report.roots_searched}}
                           .dump());
  else
    fmt::print("{} devices, {} mappings{}\n", report.devices, report.mappings,
               report.losses == 0 ? "" : fmt::format(", {} losses", report.losses));
  return report.losses == 0 ? exit_ok : exit_problems;
}

}  // namespace

void add_thin_repair(CLI::App& thin, Session& session) {
  CLI::App& verb =
      *thin.add_subcommand("repair", "Make new metadata of what can be read of damaged metadata");
  auto arguments = std::make_shared<ThinRepairArguments>();
  verb.add_option("-i,--input", arguments->input, "The damaged metadata, which stays as it is")
      ->type_name("METADATA")
      ->required();
  verb.add_option("-o,--output", arguments->output,
                  "File or block device for the new metadata, which is there")
      ->type_name("METADATA")
      ->required();
  add_pool_overrides(verb, arguments->options.overrides);
  verb.add_flag("--force", arguments->force, "Overwrite what is there");
  add_thin_cache_size(verb, arguments->cache_size);
  add_threads(verb, arguments->threads, "Threads");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_thin_repair(session, *arguments); });
}

}  // namespace karst::cli

// karst thin dump: a pool's metadata as XML, or as text.
#include "block/open.h"
#include "cli/output.h"
#include "cli/thin.h"
#include "cli/thin_arguments.h"
#include "thin/tool/dump_writers.h"
#include "thin/tool/salvage.h"

namespace karst::cli {
namespace {

struct ThinDumpArguments {
  MetadataArguments metadata;
  thin::DumpFormat format = thin::DumpFormat::xml;
  thin::DumpOptions options;
  std::string output;
  bool force = false, repair = false;
};

Result<int> dump_whole(const ThinDumpArguments& arguments, thin::PoolSink& sink) {
  const auto opened = TRY(arguments.metadata.open());
  TRY(thin::dump(*opened.reader, arguments.options, sink));
  return exit_ok;
}

Result<int> dump_repaired(const ThinDumpArguments& arguments, thin::PoolSink& sink) {
  const auto device = TRY(open_thin_metadata(arguments.metadata.metadata, block::OpenMode::read_only));
  cache::Cache cache({.limit = TRY(block::parse_size(arguments.metadata.cache_size))});
  const auto pool = TRY(WorkerPool::create({.name = "dump"}));
  const auto lost = [](const std::string& text) { fmt::print(stderr, "lost: {}\n", text); };
  const auto report = TRY(thin::salvage(*device, cache, *pool, arguments.options, sink, lost));
  return report.losses == 0 ? exit_ok : exit_problems;
}

Result<int> run_thin_dump(const Session& session, const ThinDumpArguments& arguments) {
  auto output = TRY(ThinOutput::create(arguments.output, arguments.force, {arguments.metadata.metadata}));
  const auto write = [&](std::string_view text) { return output->write(text); };
  thin::TextOut text(write);
  const auto writer =
      thin::make_dump_writer(session.json() ? thin::DumpFormat::json : arguments.format, text);
  auto status = arguments.repair ? dump_repaired(arguments, *writer) : dump_whole(arguments, *writer);
  TRY(text.flush());
  TRY(std::move(status));
  TRY(output->commit());
  return status;
}

}  // namespace

void add_thin_dump(CLI::App& thin, Session& session) {
  CLI::App& verb = *thin.add_subcommand("dump", "Print a pool's metadata");
  auto arguments = std::make_shared<ThinDumpArguments>();
  arguments->metadata.declare(verb);
  const std::map<std::string, thin::DumpFormat> formats{{"xml", thin::DumpFormat::xml},
                                                        {"human_readable", thin::DumpFormat::human_readable}};
  verb.add_option("-f,--format", arguments->format, "xml, which thin restore takes, or human_readable")
      ->type_name("FORMAT")
      ->transform(CLI::CheckedTransformer(formats).description(""));
  verb.add_option("--dev-id", arguments->options.devices, "Only this device (repeatable)")
      ->type_name("ID")
      ->allow_extra_args(false);
  verb.add_flag("-r,--repair", arguments->repair, "Print what can be read of damaged metadata")
      ->excludes(verb.get_option("--metadata-snap"));
  verb.add_flag("--skip-mappings", arguments->options.skip_mappings, "Devices only, without their mappings");
  add_pool_overrides(verb, arguments->options.overrides);
  verb.add_option("-o,--output", arguments->output, "Write to this file")->type_name("FILE");
  verb.add_flag("--force", arguments->force, "Replace the file of -o if it is there");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_thin_dump(session, *arguments); });
}

}  // namespace karst::cli

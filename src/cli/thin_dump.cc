// karst thin dump: a pool's metadata as XML, or as text.
#include "cli/thin_arguments.h"
#include "thin/tool/dump_writers.h"

namespace karst::cli {
namespace {

struct ThinDumpArguments {
  MetadataArguments metadata;
  thin::DumpFormat format = thin::DumpFormat::xml;
  thin::DumpOptions options;
  std::string output;
  bool force = false;
};

Result<int> run_thin_dump(const Session& session, const ThinDumpArguments& arguments) {
  auto opened = TRY(arguments.metadata.open());
  auto output = TRY(ThinOutput::create(arguments.output, arguments.force, {arguments.metadata.metadata}));
  const auto write = [&](std::string_view text) { return output->write(text); };
  thin::TextOut text(write);
  const auto writer =
      thin::make_dump_writer(session.json() ? thin::DumpFormat::json : arguments.format, text);
  auto dumped = thin::dump(*opened.reader, arguments.options, *writer);
  TRY(text.flush());
  TRY(std::move(dumped));
  TRY(output->commit());
  return exit_ok;
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
  verb.add_flag("--skip-mappings", arguments->options.skip_mappings, "Devices only, without their mappings");
  add_pool_overrides(verb, arguments->options.overrides);
  verb.add_option("-o,--output", arguments->output, "Write to this file")->type_name("FILE");
  verb.add_flag("--force", arguments->force, "Replace the file of -o if it is there");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_thin_dump(session, *arguments); });
}

}  // namespace karst::cli

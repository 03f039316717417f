// karst thin delta: how the mappings of two devices differ.
#include "thin/tool/delta.h"

#include "cli/output.h"
#include "cli/thin.h"
#include "cli/thin_arguments.h"

namespace karst::cli {
namespace {

struct ThinDeltaArguments {
  MetadataArguments metadata;
  thin::DeviceId left = 0, right = 0;
  bool verbose = false;
};

Result<void> print_json(thin::MetadataReader& metadata, const ThinDeltaArguments& arguments) {
  const auto left = TRY(metadata.device(arguments.left)), right = TRY(metadata.device(arguments.right));
  JsonArray array;
  return thin::compare_devices(metadata, left, right, [&](const thin::DeltaRun& run) -> Result<void> {
    Json object{{"kind", name_of(run.kind)}, {"begin", raw(run.begin)}, {"length", run.length}};
    if (run.kind != thin::DeltaKind::right_only) object["left_data_begin"] = raw(run.left);
    if (run.kind != thin::DeltaKind::left_only) object["right_data_begin"] = raw(run.right);
    array.add(object);
    return {};
  });
}

Result<int> run_thin_delta(const Session& session, const ThinDeltaArguments& arguments) {
  const auto opened = TRY(arguments.metadata.open());
  if (session.json()) {
    TRY(print_json(*opened.reader, arguments));
    return exit_ok;
  }
  const auto output = TRY(ThinOutput::create("", false, {}));
  const auto write = [&](std::string_view text) { return output->write(text); };
  thin::TextOut text(write);
  TRY(thin::write_delta_xml(*opened.reader, arguments.left, arguments.right, arguments.verbose, text));
  return exit_ok;
}

}  // namespace

void add_thin_delta(CLI::App& thin, Session& session) {
  CLI::App& verb = *thin.add_subcommand("delta", "Print how the mappings of two devices differ");
  auto arguments = std::make_shared<ThinDeltaArguments>();
  arguments->metadata.declare(verb);
  verb.add_option("--thin1,--snap1", arguments->left, "The one device")->type_name("ID")->required();
  verb.add_option("--thin2,--snap2", arguments->right, "The other")->type_name("ID")->required();
  verb.add_flag("--verbose", arguments->verbose, "With the data blocks");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_thin_delta(session, *arguments); });
}

}  // namespace karst::cli

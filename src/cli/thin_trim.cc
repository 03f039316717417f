// karst thin trim: discards what no device of a pool uses.
#include "thin/tool/trim.h"

#include "cli/image_arguments.h"
#include "cli/open_named.h"
#include "cli/output.h"
#include "cli/thin.h"
#include "cli/thin_arguments.h"
#include "thin/tool/check.h"

namespace karst::cli {
namespace {

struct ThinTrimArguments {
  std::string metadata, data, cache_size = thin_cache_default;
  unsigned threads = 0;
};

// Only what is known for sure to be free may go, so the metadata is checked first.
Result<int> run_thin_trim(const Session& session, const ThinTrimArguments& arguments) {
  TRY(check_other_device(arguments.metadata, arguments.data));
  const auto metadata = TRY(open_thin_metadata(arguments.metadata, block::OpenMode::read_only));
  const auto data = TRY(open_named(arguments.data, block::OpenMode::read_write, {.exclusive = true}));
  const uint64_t memory = TRY(block::parse_size(arguments.cache_size));
  cache::Cache cache({.limit = memory / 8});
  const auto pool = TRY(WorkerPool::create({.name = "trim", .threads = arguments.threads}));
  const auto tell = [](const thin::Finding& finding) {
    fmt::print(stderr, "{} [{}]\n", finding.text, finding.kind.id);
  };
  thin::Findings findings(tell, 10);
  const auto report =
      TRY(thin::check_metadata(*metadata, cache, *pool, {.memory = memory - memory / 8}, {}, findings));
  if (report.fatal != 0)
    return Error::make(err::corrupt, "{} is damaged: nothing is discarded", arguments.metadata);
  const auto trimmed = TRY(thin::trim_data(*report.scan, report.data_block_sectors, *data));
  if (session.json())
    fmt::print("{}\n", Json{{"ranges", trimmed.ranges}, {"blocks", trimmed.blocks}}.dump());
  else
    fmt::print("discarded {} blocks in {} ranges\n", trimmed.blocks, trimmed.ranges);
  return exit_ok;
}

}  // namespace

void add_thin_trim(CLI::App& thin, Session& session) {
  CLI::App& verb = *thin.add_subcommand("trim", "Discard the data blocks that no device uses");
  auto arguments = std::make_shared<ThinTrimArguments>();
  verb.add_option("--metadata-dev", arguments->metadata, "The pool's metadata")
      ->type_name("FILE")
      ->required();
  verb.add_option("--data-dev", arguments->data, "The pool's data")->type_name("FILE")->required();
  add_thin_cache_size(verb, arguments->cache_size);
  add_threads(verb, arguments->threads, "Threads");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_thin_trim(session, *arguments); });
}

}  // namespace karst::cli

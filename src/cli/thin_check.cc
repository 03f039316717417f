// karst thin check: whether a pool's metadata is consistent.
#include "thin/tool/check.h"

#include <algorithm>
#include <thread>

#include "cli/image_arguments.h"
#include "cli/open_named.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/thin.h"
#include "cli/thin_arguments.h"

namespace karst::cli {
namespace {

struct ThinCheckArguments {
  std::string metadata, cache_size = thin_cache_default;
  unsigned threads = 0;
  bool quiet = false;
  thin::CheckOptions options;
};

constexpr uint64_t findings_told = 1000;  // of one kind

const char* severity_of(const thin::Finding& finding) {
  switch (finding.kind.severity) {
    case thin::Severity::fatal: return "fatal";
    case thin::Severity::non_fatal: return "non-fatal";
    case thin::Severity::warning: return "warning";
  }
  return "";
}

Json report_json(const ThinCheckArguments& arguments, const thin::CheckReport& report, Json findings) {
  Json object;
  set_name(object, "metadata", arguments.metadata);
  object["good"] = report.good;
  object["transaction_id"] = report.transaction_id;
  object["metadata_blocks"] = report.metadata_blocks;
  object["metadata_free_blocks"] = report.metadata_free;
  object["devices"] = report.devices;
  object["fatal"] = report.fatal;
  object["non_fatal"] = report.non_fatal;
  object["warnings"] = report.warnings;
  object["bitmaps_repaired"] = report.leaks_repaired;
  object["cleared_needs_check"] = report.cleared_needs_check;
  object["findings"] = std::move(findings);
  return object;
}

void print_report(const thin::CheckReport& report) {
  fmt::print("TRANSACTION_ID={}\nMETADATA_FREE_BLOCKS={}\n", report.transaction_id, report.metadata_free);
  if (report.leaks_repaired != 0) fmt::print("Repaired leaks in {} bitmaps\n", report.leaks_repaired);
  if (report.cleared_needs_check) fmt::print("Cleared needs_check flag\n");
}

Result<int> run_thin_check(const Session& session, const ThinCheckArguments& arguments) {
  const bool writes = arguments.options.repair_leaks || arguments.options.clear_needs_check;
  const auto device = TRY(open_thin_metadata(
      arguments.metadata, writes ? block::OpenMode::read_write : block::OpenMode::read_only,
      arguments.options.snapshot_only));
  const uint64_t memory = TRY(block::parse_size(arguments.cache_size));
  cache::Cache cache({.limit = memory / 8});
  thin::CheckOptions options = arguments.options;
  options.memory = memory - memory / 8;
  const auto pool = TRY(WorkerPool::create({.name = "check", .threads = arguments.threads}));
  Json listed = Json::array();
  const auto tell = [&](const thin::Finding& finding) {
    if (session.json())
      listed.push_back(
          {{"id", finding.kind.id}, {"severity", severity_of(finding)}, {"message", finding.text}});
    else if (!arguments.quiet)
      fmt::print(stderr, "{}{}{} [{}]\n", clear_bar(),
                 finding.kind.severity == thin::Severity::fatal ? "" : "WARNING: ", finding.text,
                 finding.kind.id);
  };
  thin::Findings findings(tell, findings_told);
  Progress progress;
  std::optional<ProgressBar> bar;
  if (!arguments.quiet) bar.emplace(progress);
  const auto report =
      TRY(thin::check_metadata(*device, cache, *pool, options, progress, findings).context([&] {
        return arguments.metadata;
      }));
  bar.reset();
  if (session.json())
    fmt::print("{}\n", report_json(arguments, report, std::move(listed)).dump(2));
  else if (!arguments.quiet && report.metadata_blocks != 0)
    print_report(report);
  return report.good ? exit_ok : exit_problems;
}

}  // namespace

void add_thin_check(CLI::App& thin, Session& session) {
  CLI::App& verb = *thin.add_subcommand("check", "Check whether a pool's metadata is consistent");
  auto arguments = std::make_shared<ThinCheckArguments>();
  thin::CheckOptions& options = arguments->options;
  verb.add_option("METADATA", arguments->metadata, "The pool's file, or the file or device with its metadata")
      ->required();
  verb.add_flag("-q,--quiet", arguments->quiet, "Print nothing; the exit status says it");
  verb.add_flag("--super-block-only", options.super_block_only, "Only the superblock");
  verb.add_flag("--skip-mappings", options.skip_mappings, "Only the superblock and the trees of devices");
  auto* snapshot = verb.add_flag("-m,--metadata-snap", options.snapshot_only,
                                 "Devices and mappings of the metadata snapshot; the pool may be in use");
  verb.add_flag("--ignore-non-fatal-errors", options.ignore_non_fatal,
                "Exit status 0 in spite of lost space");
  verb.add_flag("--auto-repair", options.repair_leaks, "Give back space that is counted and not used")
      ->excludes(snapshot);
  verb.add_flag("--clear-needs-check-flag", options.clear_needs_check,
                "If all is well, clear the flag that Linux sets to have the pool checked")
      ->excludes(snapshot);
  add_thin_cache_size(verb, arguments->cache_size);
  add_threads(verb, arguments->threads, "Threads");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_thin_check(session, *arguments); });
}

}  // namespace karst::cli

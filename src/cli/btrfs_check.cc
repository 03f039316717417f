// karst btrfs check: whether a file system is consistent; reads only.
#include "btrfs/tool/check.h"

#include <algorithm>
#include <thread>

#include "cli/open_named.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "cli/session.h"

namespace karst::cli {
namespace {

struct CheckArguments {
  std::string image;
  std::vector<std::string> more_devices;
  std::optional<int> super_mirror, backup_root;
  bool first_backup = false;
  std::optional<uint64_t> tree_root, chunk_root;
  std::string cache_size = "256M";
  unsigned threads = 0;
  bool progress = false, qgroup_report = false;
  btrfs::CheckOptions options;
};

// Messages to standard error as they come; the end to standard output.
class TextReceiver final : public btrfs::check::CheckReceiver {
 public:
  void phase(const std::string& title) override { fmt::print(stderr, "{}{}\n", clear_bar(), title); }
  void finding(const btrfs::check::Finding& finding) override {
    bool warning = finding.kind.severity == btrfs::check::Severity::warning;
    fmt::print(stderr, "{}{}{} [{}]\n", clear_bar(), warning ? "WARNING: " : "", shown_lines(finding.text),
               finding.kind.id);
  }

 private:
  // Names in a broken image must not command a terminal; the lines of a message stay lines.
  static std::string shown_lines(const std::string& text) {
    std::string shown;
    for (size_t from = 0;;) {
      size_t end = text.find_first_of("\n\t", from);
      shown += shown_name(std::string_view(text).substr(from, end - from));
      if (end == text.npos) return shown;
      shown += text[end];
      from = end + 1;
    }
  }
};

class JsonReceiver final : public btrfs::check::CheckReceiver {
 public:
  void phase(const std::string& title) override { fmt::print(stderr, "{}{}\n", clear_bar(), title); }
  void finding(const btrfs::check::Finding& finding) override {
    bool warning = finding.kind.severity == btrfs::check::Severity::warning;
    Json object;
    object["id"] = finding.kind.id;
    object["severity"] = warning ? "warning" : "problem";
    set_name(object, "message", finding.text);
    for (const auto& [key, value] : finding.places) object[key] = value;
    findings.push_back(std::move(object));
  }
  Json findings = Json::array();
};

void print_qgroups(const btrfs::check::QgroupReport& report) {
  if (report.rescanning)
    fmt::print("Qgroup rescan is running, a difference in qgroup counts is expected\n");
  else if (report.inconsistent)
    fmt::print("Qgroups are marked as inconsistent, a difference in qgroup accounting is expected\n");
  for (const btrfs::check::QgroupCounts& counts : report.groups)
    fmt::print("{}\n", btrfs::check::qgroup_text(counts));
}

Json qgroups_json(const btrfs::check::QgroupReport& report) {
  Json groups = Json::array();
  for (const btrfs::check::QgroupCounts& counts : report.groups)
    groups.push_back({{"qgroup", fmt::format("{}/{}", counts.id >> 48, counts.id & ((1ull << 48) - 1))},
                      {"referenced", counts.rfer},
                      {"exclusive", counts.excl},
                      {"recorded_referenced", counts.recorded_rfer},
                      {"recorded_exclusive", counts.recorded_excl}});
  return groups;
}

void print_totals(const btrfs::CheckResult& result) {
  const btrfs::CheckTotals& totals = result.totals;
  fmt::print("found {} bytes used, {}\n", totals.bytes_used,
             result.problems ? "error(s) found" : "no error found");
  fmt::print(
      "total csum bytes: {}\ntotal tree bytes: {}\ntotal fs tree bytes: {}\ntotal extent tree bytes: {}\n",
      totals.csum_bytes, totals.tree_bytes, totals.fs_tree_bytes, totals.extent_tree_bytes);
  fmt::print("btree space waste bytes: {}\nfile data blocks allocated: {}\n referenced {}\n",
             totals.wasted_bytes, totals.data_allocated, totals.data_referenced);
}

Json result_json(const std::string& image, const btrfs::Filesystem& fs, const btrfs::CheckResult& result,
                 Json findings) {
  const btrfs::CheckTotals& totals = result.totals;
  Json object;
  set_name(object, "image", image);
  object["uuid"] = fs.super().fsid.text();
  object["clean"] = result.problems == 0;
  object["problems"] = result.problems;
  object["warnings"] = result.warnings;
  object["findings"] = std::move(findings);
  object["totals"] = {{"bytes_used", totals.bytes_used},
                      {"csum_bytes", totals.csum_bytes},
                      {"tree_bytes", totals.tree_bytes},
                      {"fs_tree_bytes", totals.fs_tree_bytes},
                      {"extent_tree_bytes", totals.extent_tree_bytes},
                      {"tree_bytes_wasted", totals.wasted_bytes},
                      {"data_bytes_allocated", totals.data_allocated},
                      {"data_bytes_referenced", totals.data_referenced}};
  if (result.qgroups.enabled) object["qgroups"] = qgroups_json(result.qgroups);
  return object;
}

Result<std::unique_ptr<btrfs::Filesystem>> open_filesystem(const CheckArguments& arguments,
                                                           cache::Cache& cache, const Logger& log) {
  btrfs::OpenOptions options;
  options.volume.super_mirror = arguments.super_mirror;
  options.backup_root = arguments.backup_root;
  options.tree_root = arguments.tree_root;
  options.chunk_root = arguments.chunk_root;
  std::vector<std::string> names = arguments.more_devices;
  names.insert(names.begin(), arguments.image);
  auto open = [&]() -> Result<std::unique_ptr<btrfs::Filesystem>> {
    return btrfs::Filesystem::open(TRY(open_all_named(names)), options, cache, log);
  };
  if (!arguments.first_backup) return open();
  for (int backup = 0;; ++backup) {
    options.backup_root = backup;
    auto opened = open();
    if (opened || backup + 1 == btrfs::backup_root_count) return opened;
  }
}

// What --cache-size is for.
struct Memory {
  uint64_t cache, records, table;
  unsigned threads_max;
};

Result<Memory> divide(const std::string& cache_size) {
  constexpr uint64_t least = 32 << 20;
  constexpr uint64_t program = 12 << 20, each_thread = 4 << 20;  // sketches, and what is being read
  uint64_t limit = TRY(block::parse_size(cache_size));
  if (limit < least) return Error(err::invalid, "--cache-size is below 32M");
  Memory memory{limit / 4, limit / 8, limit / 4, 1};
  uint64_t rest = limit - memory.cache - memory.records - memory.table;
  memory.threads_max = static_cast<unsigned>(std::max<uint64_t>(1, (rest - program) / each_thread));
  return memory;
}

Result<int> run_check(const Session& session, const CheckArguments& arguments) {
  const Memory memory = TRY(divide(arguments.cache_size));
  cache::Cache cache({.limit = memory.cache});
  unsigned threads = arguments.threads ? arguments.threads : std::thread::hardware_concurrency();
  auto pool =
      TRY(WorkerPool::create({.name = "check", .threads = std::clamp(threads, 1u, memory.threads_max)}));
  // What opening and reading would tell the log, the findings say.
  auto fs = TRY(open_filesystem(arguments, cache, Logger()).context([&] { return arguments.image; }));
  btrfs::CheckOptions options = arguments.options;
  options.memory = memory.records;
  options.table_memory = memory.table;

  Progress progress;
  std::optional<ProgressBar> bar;
  bar.emplace(progress, arguments.progress ? ProgressBar::Shown::always : ProgressBar::Shown::on_terminal);
  if (!session.json())
    fmt::print("Opening filesystem to check...\nChecking filesystem on {}\nUUID: {}\n",
               shown_name(arguments.image), fs->super().fsid);
  fflush(stdout);
  TextReceiver text;
  JsonReceiver json;
  btrfs::check::CheckReceiver& receiver =
      session.json() ? static_cast<btrfs::check::CheckReceiver&>(json) : text;
  auto result = TRY(btrfs::check_filesystem(*fs, options, *pool, progress, receiver));
  bar.reset();
  if (session.json())
    fmt::print("{}\n", result_json(arguments.image, *fs, result, std::move(json.findings)).dump(2));
  else {
    if (arguments.qgroup_report) print_qgroups(result.qgroups);
    print_totals(result);
  }
  return result.problems ? exit_problems : exit_ok;
}

}  // namespace

void add_btrfs_check(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("check", "Check whether a file system is consistent; reads only");
  auto arguments = std::make_shared<CheckArguments>();
  verb.add_option("IMAGE", arguments->image, "Image file or block device with the file system")->required();
  verb.add_option("--device", arguments->more_devices,
                  "A further device of the same file system (repeatable)")
      ->type_name("FILE")
      ->allow_extra_args(false);
  verb.add_option("-s,--super", arguments->super_mirror, "Use this copy of the superblock (0, 1, 2)")
      ->type_name("N")
      ->check(CLI::Range(0, 2));
  verb.add_flag("-b,--backup", arguments->first_backup,
                "Use the first backup of the tree roots that can be read");
  verb.add_option("--use-backup", arguments->backup_root, "Use this backup of the tree roots (0 to 3)")
      ->type_name("N")
      ->check(CLI::Range(0, 3));
  verb.add_option("-r,--tree-root", arguments->tree_root,
                  "Use the block at this address as the root tree's root")
      ->type_name("BYTENR");
  verb.add_option("--chunk-root", arguments->chunk_root,
                  "Use the block at this address as the chunk tree's root")
      ->type_name("BYTENR");
  verb.add_flag("--check-data-csum", arguments->options.data_csum,
                "Read all data and compare it with its checksums, every copy");
  verb.add_flag("-Q,--qgroup-report", arguments->qgroup_report, "Print the numbers of all quota groups");
  verb.add_flag("-p,--progress", arguments->progress,
                "Show how far it is each second, also where standard error is no terminal");
  verb.add_option("--cache-size", arguments->cache_size, "Memory to use")
      ->type_name("SIZE")
      ->capture_default_str();
  verb.add_option("--threads", arguments->threads, "Threads (0: as many as there are processors)")
      ->type_name("N")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_check(session, *arguments); });
}

}  // namespace karst::cli

// karst btrfs find-root: blocks that were roots of a tree, now or some commits ago.
#include <algorithm>

#include "cli/damaged_arguments.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress_bar.h"

namespace karst::cli {
namespace {

struct FindRootArguments {
  DamagedArguments damaged;
  uint64_t tree = btrfs::id::root_tree;
  std::optional<uint64_t> generation;
  std::optional<unsigned> level;
  bool all = false, scan_devices = false;
};

struct Wanted {
  uint64_t generation;
  std::optional<unsigned> level;
};

bool matches(const btrfs::RootCandidate& candidate, const Wanted& wanted) {
  return candidate.generation == wanted.generation && (!wanted.level || candidate.level == *wanted.level);
}

// The lines of the stock tool.
void print_candidate(const btrfs::RootCandidate& candidate, const Wanted& wanted) {
  if (matches(candidate, wanted)) {
    fmt::print("Found tree root at {} gen {} level {}\n", candidate.bytenr, candidate.generation,
               candidate.level);
    return;
  }
  fmt::print(
      "Well block {}(gen: {} level: {}) seems good, but generation/level doesn't match, want gen: {} level: "
      "{}\n",
      candidate.bytenr, candidate.generation, candidate.level, wanted.generation,
      wanted.level ? fmt::format("{}", *wanted.level) : "any");
}

Result<int> run_find_root(const Session& session, const FindRootArguments& arguments) {
  const CancelToken cancel = cancelled_by_signals();
  Progress progress;
  std::optional<ProgressBar> bar(std::in_place, progress);
  auto cache = TRY(arguments.damaged.make_cache());
  auto options = arguments.damaged.options();
  options.cancel = cancel;
  options.progress = progress;
  btrfs::Damage damage;
  const auto volume = TRY(btrfs::open_damaged_volume(TRY(arguments.damaged.open_devices()), options, *cache,
                                                     damage, session.log())
                              .context([&] { return arguments.damaged.image; }))
                          .volume;
  btrfs::RootCandidates candidates(arguments.tree);
  auto collect = [&](const btrfs::TreeBlock& block) -> Result<void> {
    candidates.add(block);
    return {};
  };
  progress.begin_phase("looking for tree roots");
  const btrfs::BlockScanOptions scan{cancel, progress};
  if (arguments.scan_devices)
    TRY(scan_devices(*volume, scan, collect));
  else
    TRY(scan_chunks(*volume, btrfs::block_group::metadata | btrfs::block_group::system, scan, collect));
  bar.reset();

  const btrfs::Superblock& super = volume->super();
  const bool of_super = arguments.tree == btrfs::id::root_tree || arguments.tree == btrfs::id::chunk_tree;
  const bool chunk = arguments.tree == btrfs::id::chunk_tree;
  Wanted wanted{
      arguments.generation.value_or(chunk ? super.chunk_root_generation.value() : super.generation.value()),
      arguments.level};
  if (!wanted.level && of_super) wanted.level = chunk ? super.chunk_root_level : super.root_level;
  auto found = candidates.of(arguments.tree);
  if (arguments.generation)
    std::erase_if(found,
                  [&](const auto& candidate) { return candidate.generation != *arguments.generation; });
  if (arguments.level)
    std::erase_if(found, [&](const auto& candidate) { return candidate.level != *arguments.level; });
  if (session.json()) {
    JsonArray array;
    for (const auto& candidate : found)
      array.add({{"tree", candidate.tree},
                 {"bytenr", candidate.bytenr},
                 {"generation", candidate.generation},
                 {"level", candidate.level}});
  } else {
    fmt::print("Superblock thinks the generation is {}\n", wanted.generation);
    if (wanted.level) fmt::print("Superblock thinks the level is {}\n", *wanted.level);
    for (const auto& candidate : found) print_candidate(candidate, wanted);
  }
  const bool there = std::any_of(found.begin(), found.end(),
                                 [&](const auto& candidate) { return matches(candidate, wanted); });
  // Of other trees the superblock does not say which generation it should be.
  if (there || (!of_super && !found.empty())) return exit_ok;
  session.log().warning("no such root was found",
                        {{"tree", btrfs::root_name(arguments.tree)}, {"generation", wanted.generation}});
  return exit_problems;
}

}  // namespace

void add_btrfs_find_root(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("find-root", "Find the roots that a tree has had");
  auto arguments = std::make_shared<FindRootArguments>();
  arguments->damaged.declare(verb);
  verb.add_option("-o,--objectid", arguments->tree, "Roots of this tree, by its id")
      ->type_name("ID")
      ->capture_default_str();
  verb.add_option("-g,--generation", arguments->generation, "Only of this generation")
      ->type_name("GENERATION");
  verb.add_option("-l,--level", arguments->level, "Only of this level")
      ->type_name("LEVEL")
      ->check(CLI::Range(0, 7));
  verb.add_flag("-a,--all", arguments->all, "Taken for those who know btrfs-find-root: always done");
  verb.add_flag("--scan-devices", arguments->scan_devices,
                "Look everywhere, not only where metadata is mapped");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_find_root(session, *arguments); });
}

}  // namespace karst::cli

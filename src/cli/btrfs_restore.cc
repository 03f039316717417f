// karst btrfs restore: all that can still be read out of a damaged image.
#include <csignal>

#include "block/open.h"
#include "btrfs/tool/restore/directory_target.h"
#include "btrfs/tool/restore/restore.h"
#include "btrfs/tool/tar_target.h"
#include "cli/damaged_arguments.h"
#include "cli/image_arguments.h"
#include "cli/interrupt.h"
#include "cli/loss_report.h"
#include "cli/output_file.h"
#include "cli/progress_bar.h"

namespace karst::cli {
namespace {

struct RestoreArguments {
  DamagedArguments damaged;
  std::string target, archive, report_file;
  std::optional<int> backup;
  std::optional<uint64_t> tree_location, fs_location, generation;
  std::optional<std::string> path_regex;
  uint64_t root = btrfs::id::fs_tree;
  std::string memory = "32M";
  unsigned threads = 0;
  bool list_roots = false, snapshots = false, find_dir = false, dry_run = false, verbose = false;
  bool ignore_case = false, overwrite = false, norecovery = false;
  bool no_owner = false, no_metadata = false, no_xattr = false;
  bool compatible = false;  // -i, -m, -S, -x: what is done anyway

  btrfs::DamagedOpenOptions open_options() const {
    btrfs::DamagedOpenOptions options = damaged.options();
    options.backup_root = backup;
    options.tree_location = tree_location;
    options.fs_location = fs_location;
    options.generation = generation;
    options.subvolume = root;
    options.replay_log = !norecovery;
    return options;
  }
  OutputOptions output_options(const CancelToken& cancel) const {
    std::vector<std::string> inputs = damaged.more_devices;
    inputs.push_back(damaged.image);
    return {.inputs = std::move(inputs), .force = overwrite, .force_option = "--overwrite", .cancel = cancel};
  }
};

Result<void> print_text(std::string_view text) {
  if (fwrite(text.data(), 1, text.size(), stdout) != text.size()) return output_error(errno);
  return {};
}

// Every root item that can be read, in the form of the stock tool.
Result<int> list_roots(const Session& session, const btrfs::Filesystem& fs) {
  std::optional<JsonArray> array;
  if (session.json()) array.emplace();
  btrfs::Cursor cursor(fs.root_tree());
  for (bool at = TRY(cursor.seek(btrfs::Key::min())); at; at = TRY(cursor.next())) {
    const btrfs::Key key = cursor.key();
    if (key.type != btrfs::ItemType::root_item) continue;
    const btrfs::Root root = btrfs::root_from_item(key, cursor.data());
    const btrfs::RootItem& item = root.item;
    if (array)
      array->add({{"tree", key.objectid},
                  {"name", btrfs::root_name(key)},
                  {"bytenr", item.bytenr.value()},
                  {"generation", item.generation.value()},
                  {"level", item.level}});
    else
      fmt::print(" tree key {} {} level {}\n", btrfs::key_text(key), item.bytenr.value(), item.level);
  }
  return fs.damage() && fs.damage()->any(btrfs::id::root_tree) ? exit_problems : exit_ok;
}

// Where the files go, and how that ends.
struct Target {
  std::optional<OutputFile> file;
  std::unique_ptr<btrfs::CopyTarget> target;
  btrfs::DirectoryTarget* directory = nullptr;
  btrfs::TarTarget* tar = nullptr;
  std::function<Result<void>(std::span<iovec>)> write;

  Result<void> open(const RestoreArguments& arguments, const CancelToken& cancel, btrfs::LossListener lost) {
    if (arguments.dry_run) return {};
    if (!arguments.archive.empty()) {
      file.emplace(TRY(OutputFile::create(arguments.archive, arguments.output_options(cancel))));
      write = [this](std::span<iovec> vectors) { return file->write(vectors); };
      auto made = std::make_unique<btrfs::TarTarget>(write);
      tar = made.get();
      target = std::move(made);
      return {};
    }
    const btrfs::DirectoryTargetOptions options{.overwrite = arguments.overwrite,
                                                .owners = !arguments.no_metadata && !arguments.no_owner,
                                                .modes_and_times = !arguments.no_metadata,
                                                .xattrs = !arguments.no_xattr};
    auto made = TRY(btrfs::DirectoryTarget::open(arguments.target, options, lost));
    directory = made.get();
    target = std::move(made);
    return {};
  }
  Result<void> finish() {
    if (directory) return directory->finish();
    if (!tar) return {};
    TRY(tar->finish());
    return file->commit();
  }
};

Json recovered_roots(const btrfs::DamagedImage& image) {
  Json array = Json::array();
  for (const auto& [tree, root] : image.recovered_roots())
    array.push_back({{"tree", tree},
                     {"bytenr", root.item.bytenr.value()},
                     {"generation", root.item.generation.value()},
                     {"level", root.item.level}});
  return array;
}

void warn_of_unset(const Session& session, const btrfs::DirectoryTarget::Unset& unset) {
  if (unset.owners + unset.modes + unset.times + unset.xattrs == 0) return;
  session.log().warning("not everything could be set, for want of rights or of support in the target",
                        {{"owners", unset.owners},
                         {"modes", unset.modes},
                         {"times", unset.times},
                         {"attributes", unset.xattrs}});
}

// Whether files may be lost, or older than they were, of which nothing is known.
bool is_in_doubt(const btrfs::DamagedImage& image, const RestoreArguments& arguments) {
  // A root that stands in for another is older, or has only a part.
  if (image.recovered_roots().size() > (arguments.fs_location ? 1 : 0)) return true;
  if (image.root_is_stand_in() || image.log_is_unused() || image.fs().blocks_tolerated() > 0) return true;
  return image.damage().any_of(
      [](uint64_t tree) { return btrfs::is_fs_tree(tree) || tree == btrfs::id::root_tree; });
}

Result<void> check_arguments(const Session& session, const RestoreArguments& arguments) {
  const int targets = !arguments.target.empty() + !arguments.archive.empty();
  if (targets > 1) return Error(err::invalid, "a directory and an archive at once");
  if (targets == 0 && !arguments.dry_run && !arguments.list_roots)
    return Error(err::invalid, "no target: give a directory, -o FILE, --dry-run or --list-roots");
  if (arguments.archive == "-" && (session.json() || arguments.verbose))
    return Error(err::invalid, "--json and -v use standard output: use -o FILE, or --report FILE");
  if (arguments.report_file == "-") return Error(err::invalid, "--report is for a file: use --json");
  if (arguments.tree_location.has_value() + arguments.backup.has_value() + arguments.generation.has_value() >
      1)
    return Error(err::invalid, "--tree-location, --use-backup and --generation each choose a root tree");
  return {};
}

Result<int> run_restore(const Session& session, const RestoreArguments& arguments) {
  auto valid = check_arguments(session, arguments);
  if (!valid) {
    print_problem(valid.error());
    return exit_usage;
  }
  // What a limit of the user's cuts off is told, like what the file system refuses.
  std::signal(SIGXFSZ, SIG_IGN);
  const CancelToken cancel = cancelled_by_signals();
  Progress progress;
  std::optional<ProgressBar> bar(std::in_place, progress);

  auto cache = TRY(arguments.damaged.make_cache());
  auto open_options = arguments.open_options();
  open_options.cancel = cancel;
  open_options.progress = progress;
  auto image = TRY(
      btrfs::DamagedImage::open(TRY(arguments.damaged.open_devices()), open_options, *cache, session.log())
          .context([&] { return arguments.damaged.image; }));
  if (arguments.list_roots) {
    bar.reset();
    return list_roots(session, image->fs());
  }

  std::optional<OutputFile> report_file;
  if (!arguments.report_file.empty())
    report_file.emplace(TRY(OutputFile::create(arguments.report_file, arguments.output_options(cancel))));
  std::vector<LossReport::Writer> reports;
  if (session.json()) reports.emplace_back(print_text);
  if (report_file)
    reports.emplace_back([&](std::string_view text) {
      iovec buffer{const_cast<char*>(text.data()), text.size()};
      return report_file->write({&buffer, 1});
    });
  LossReport losses(std::move(reports), !session.json());
  auto lost = [&](const btrfs::CopyLoss& loss) { losses.add(loss); };
  Target target;
  TRY(target.open(arguments, cancel, lost));
  auto pool = TRY(WorkerPool::create({.name = "restore", .threads = arguments.threads}));

  btrfs::RestoreOptions options;
  options.subvolume = arguments.root;
  options.snapshots = arguments.snapshots;
  options.first_directory = arguments.find_dir;
  options.path_regex = arguments.path_regex;
  options.ignore_case = arguments.ignore_case;
  options.repeat_directories = target.directory != nullptr;
  options.copy.memory = TRY(block::parse_size(arguments.memory));
  options.copy.give_unverified = arguments.damaged.ignore_checksums;
  options.copy.cancel = cancel;
  options.copy.progress = progress;
  if ((arguments.dry_run || arguments.verbose) && !session.json())
    options.seen = [](const btrfs::WalkEntry& entry) {
      if (!entry.path.empty()) fmt::print("{}\n", shown_name(entry.path));
    };
  progress.begin_phase("restoring");
  auto report = TRY(btrfs::restore(*image, options, target.target.get(), *pool, lost));
  TRY(target.finish());
  bar.reset();

  for (const btrfs::LostBlock& block : image->damage().blocks()) losses.add(block);
  if (losses.unchecked())
    session.log().warning("ranges were left out only for their checksums; --ignore-checksums gives them",
                          {{"count", losses.unchecked()}});
  if (report.subvolumes_skipped)
    session.log().warning("subvolumes were left out; -s restores them too",
                          {{"count", report.subvolumes_skipped}});
  if (report.copied.sockets)
    session.log().warning("sockets were left out: tar has no place for them",
                          {{"count", report.copied.sockets}});
  if (target.directory) warn_of_unset(session, target.directory->unset());
  TRY(losses.finish({{"root",
                      {{"bytenr", raw(image->root().address)},
                       {"generation", image->root().generation},
                       {"level", image->root().level},
                       {"source", image->root_source()}}},
                     {"recovered_roots", recovered_roots(*image)},
                     {"entries", report.copied.entries},
                     {"bytes", report.copied.bytes},
                     {"losses", losses.count()},
                     {"unverified", losses.unverified()},
                     {"lost_block_count", image->damage().block_count()},
                     {"tolerated_blocks", image->fs().blocks_tolerated()},
                     {"subvolumes_skipped", report.subvolumes_skipped},
                     {"sockets", report.copied.sockets}}));
  if (report_file) TRY(report_file->commit());
  return losses.count() > 0 || is_in_doubt(*image, arguments) ? exit_problems : exit_ok;
}

}  // namespace

void add_btrfs_restore(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("restore", "Copy all that can be read out of a damaged image");
  auto arguments = std::make_shared<RestoreArguments>();
  arguments->damaged.declare(verb);
  verb.add_option("DIRECTORY", arguments->target, "Where the files go; made if it is missing");
  verb.add_option("-o,--output", arguments->archive, "A tar archive (pax) instead; - is standard output")
      ->type_name("FILE");
  verb.add_flag("-l,--list-roots", arguments->list_roots, "List the roots of trees and do nothing else");
  verb.add_option("-r,--root", arguments->root, "Restore this subvolume, by its id")
      ->type_name("ID")
      ->capture_default_str();
  verb.add_flag("-s,--snapshots", arguments->snapshots, "Restore subvolumes and snapshots in it too");
  verb.add_flag("-d,--find-dir", arguments->find_dir, "Start at the first directory that is found");
  verb.add_option("-t,--tree-location", arguments->tree_location, "The root tree's root is this block")
      ->type_name("BYTENR");
  verb.add_option("-f,--fs-location", arguments->fs_location, "The subvolume's root is this block")
      ->type_name("BYTENR");
  verb.add_option("--use-backup", arguments->backup, "Use this backup of the root tree's root (0 to 3)")
      ->type_name("N")
      ->check(CLI::Range(0, 3));
  verb.add_option("--generation", arguments->generation, "Use the root tree of this generation")
      ->type_name("GENERATION");
  verb.add_option("--path-regex", arguments->path_regex,
                  "Only paths in which this POSIX extended expression is")
      ->type_name("REGEX");
  verb.add_flag("-c,--ignore-case", arguments->ignore_case, "--path-regex does not tell A from a");
  verb.add_flag("-D,--dry-run", arguments->dry_run, "Only list what would be restored");
  verb.add_flag("-v,--verbose", arguments->verbose, "List what is restored");
  verb.add_flag("--overwrite", arguments->overwrite, "Replace files that exist in the target");
  verb.add_flag("--no-owner", arguments->no_owner, "Leave owners as they come out");
  verb.add_flag("--no-metadata", arguments->no_metadata, "Restore neither owners nor modes nor times");
  verb.add_flag("--no-xattr", arguments->no_xattr, "Do not restore extended attributes");
  verb.add_flag("-i,--ignore-errors,-m,--metadata,-S,--symlink,-x,--xattr", arguments->compatible,
                "Taken for those who know btrfs restore: always done");
  verb.add_flag("--norecovery", arguments->norecovery, "Leave out what a log left by a crash holds");
  add_threads(verb, arguments->threads, "Threads that read and write");
  add_memory(verb, arguments->memory, 1 << 20, "File contents in flight");
  verb.add_option("--report", arguments->report_file, "Write what --json prints to this file")
      ->type_name("FILE");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_restore(session, *arguments); });
}

}  // namespace karst::cli

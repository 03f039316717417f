// karst btrfs build: an image made of directories, archives and plans.
#include <charconv>
#include <cstdlib>
#include <ctime>

#include "block/open.h"
#include "btrfs/tool/build/builder.h"
#include "btrfs/tool/build/layout_digest.h"
#include "btrfs/tool/build/paths.h"
#include "btrfs/tool/build/source.h"
#include "cli/image_arguments.h"
#include "cli/interrupt.h"
#include "cli/make_arguments.h"
#include "cli/make_targets.h"
#include "cli/output.h"
#include "cli/progress_bar.h"

namespace karst::cli {
namespace {

using namespace btrfs::build;

struct BuildArguments {
  MakeArguments make;
  std::string output;
  std::vector<std::string> more_devices, sources, subvolumes;
  std::string default_subvolume, compress, size, profile, seed, time, memory = "128M", temporary;
  std::string passwd, group, oci_platform, oci_reference, inline_max = "2048";
  unsigned threads = 0;
  bool dedupe = false, shrink = false, reproducible = false, one_file_system = false, ignore_errors = false;
  bool all_root = false, names = false, no_xattrs = false;
};

// "zstd:9" and the like.
Result<Encoding> parse_compression(const std::string& text) {
  Encoding encoding;
  if (text.empty() || text == "none" || text == "no") return encoding;
  const std::string name = text.substr(0, text.find(':'));
  if (name == "zlib")
    encoding.compression = btrfs::Compression::zlib;
  else if (name == "lzo")
    encoding.compression = btrfs::Compression::lzo;
  else if (name == "zstd")
    encoding.compression = btrfs::Compression::zstd;
  else
    return Error::make(err::invalid, "unknown compression: {}", text).expected("zlib, lzo or zstd", name);
  if (!btrfs::compression_supported(encoding.compression))
    return Error::make(err::unsupported, "compression {} was left out of this build", name);
  if (name.size() < text.size()) {
    const std::string level = text.substr(name.size() + 1);
    const int most = encoding.compression == btrfs::Compression::zlib   ? 9
                     : encoding.compression == btrfs::Compression::zstd ? 15
                                                                        : 1;
    auto [end, error] = std::from_chars(level.data(), level.data() + level.size(), encoding.level);
    if (error != std::errc() || end != level.data() + level.size() || encoding.level < 1 ||
        encoding.level > most)
      return Error::make(err::invalid, "compression level: {}", text)
          .expected(fmt::format("1 to {}", most), level);
  }
  return encoding;
}

// Times of a reproducible image: --time, or SOURCE_DATE_EPOCH as https://reproducible-builds.org has it.
Result<std::optional<int64_t>> epoch_of(const BuildArguments& arguments) {
  std::string text = arguments.time;
  if (const char* variable = getenv("SOURCE_DATE_EPOCH"); text.empty() && variable) text = variable;
  if (text.empty()) {
    if (arguments.reproducible)
      return Error(err::invalid, "--reproducible needs SOURCE_DATE_EPOCH or --time");
    return std::optional<int64_t>();
  }
  int64_t seconds = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc() || end != text.data() + text.size())
    return Error::make(err::invalid, "time: {}", text).expected("seconds since 1970", text);
  return std::optional(seconds);
}

std::vector<SourceSpec> source_specs(const BuildArguments& arguments) {
  std::vector<SourceSpec> specs;
  for (const std::string& source : arguments.sources) {
    SourceSpec spec = SourceSpec::parse(source);
    spec.one_file_system = arguments.one_file_system;
    spec.oci_platform = arguments.oci_platform;
    spec.oci_reference = arguments.oci_reference;
    if (arguments.all_root) spec.overrides.uid = spec.overrides.gid = 0;
    spec.overrides.keep_xattrs = !arguments.no_xattrs;
    specs.push_back(std::move(spec));
  }
  return specs;
}

// What UUIDs are made from where the same input is to give the same: all that is known before data is read.
Result<std::string> seed_of(const Layout& layout, const BuildArguments& arguments,
                            const btrfs::MakeOptions& options) {
  return fmt::format("{} {} {} {} {:x} {:x} {:x} {:x} {} {} {} {} {} {}", TRY(digest_of(layout)),
                     options.nodesize, options.sectorsize, checksum_name(options.checksum), options.incompat,
                     options.compat_ro, *options.data_profile, *options.metadata_profile,
                     1 + arguments.more_devices.size(), arguments.size, arguments.compress, arguments.dedupe,
                     arguments.shrink, options.label);
}

Result<int> run_build(const Session& session, const BuildArguments& arguments) {
  btrfs::MakeOptions options = TRY(arguments.make.options());
  if (!arguments.profile.empty())
    options.data_profile = options.metadata_profile = TRY(btrfs::parse_profile(arguments.profile));
  const std::optional<int64_t> epoch = TRY(epoch_of(arguments));
  options.time = epoch ? *epoch : time(nullptr);
  if (!arguments.seed.empty()) options.seed = arguments.seed;
  options.temporary_directory = !arguments.temporary.empty() ? arguments.temporary
                                : getenv("TMPDIR")           ? getenv("TMPDIR")
                                                             : "/var/tmp";
  const uint64_t memory = TRY(block::parse_size(arguments.memory));
  options.memory = memory / 4;
  if (arguments.shrink) {
    options.system_least = 2 << 20;
    options.metadata_least = 1 << 20;
    options.metadata_spare = 12 << 20;
    options.data_least = 1 << 20;
  }
  std::optional<uint64_t> size;
  if (!arguments.size.empty()) size = TRY(block::parse_size(arguments.size));

  BuildOptions build;
  build.load.encoding = TRY(parse_compression(arguments.compress));
  build.load.inline_max = static_cast<uint32_t>(
      std::min<uint64_t>(TRY(block::parse_size(arguments.inline_max)), options.sectorsize - 1));
  build.load.digests = arguments.dedupe;
  build.memory = memory / 4;
  build.temporary_directory = options.temporary_directory;
  SkipSourceErrors skip(session.log());
  StopOnSourceError stop;
  SourceErrorPolicy& errors = arguments.ignore_errors ? static_cast<SourceErrorPolicy&>(skip) : stop;
  build.load.errors = &errors;
  const CancelToken cancel = cancelled_by_signals();
  Progress progress;
  build.cancel = cancel;
  build.progress = progress;

  MakeTargets targets(session.log(), arguments.make.force);
  std::vector<std::string> paths{arguments.output};
  paths.insert(paths.end(), arguments.more_devices.begin(), arguments.more_devices.end());
  TRY(targets.open(paths, size, MakeTargets::Growth{arguments.shrink ? 0 : uint64_t{256} << 20}));
  SourceOptions source_options;
  source_options.plan_names = TRY(IdNames::create(arguments.passwd, arguments.group, arguments.names));
  // As tar does; but what a machine knows makes no image that is the same on all.
  source_options.acl_names =
      TRY(IdNames::create(arguments.passwd, arguments.group, arguments.names || !arguments.reproducible));
  source_options.errors = &errors;
  source_options.cancel = cancel;
  source_options.progress = progress;
  source_options.log = session.log();
  source_options.exclude = targets.identities();
  SourceSet sources = TRY(SourceSet::open(source_specs(arguments), source_options));
  Declarations declarations = sources.declarations();
  for (const std::string& subvolume : arguments.subvolumes) {
    SubvolumeSpec spec;
    spec.readonly = subvolume.ends_with(":ro");
    spec.path = TRY(normalize_path(spec.readonly ? subvolume.substr(0, subvolume.size() - 3) : subvolume));
    declarations.subvolumes.push_back(std::move(spec));
  }
  if (!arguments.default_subvolume.empty())
    declarations.default_subvolume = TRY(normalize_path(arguments.default_subvolume));
  InventoryOptions inventory_options;
  inventory_options.memory = memory / 6;
  inventory_options.temporary_directory = options.temporary_directory;
  inventory_options.default_time = {options.time, 0};
  if (arguments.reproducible) inventory_options.epoch = epoch;
  inventory_options.errors = &errors;
  inventory_options.log = session.log();
  Inventory inventory = TRY(Inventory::create(std::move(inventory_options), std::move(declarations)));

  const std::string temporary_directory = options.temporary_directory;
  auto writer = TRY(btrfs::ImageWriter::create(targets.take(), std::move(options)));
  targets.overwritten();
  TRY(writer->begin());
  build.load.generation = writer->generation();

  auto pool = TRY(WorkerPool::create({.name = "build", .threads = arguments.threads}));
  Codecs codecs;
  BatchBuffers buffers;
  ExtentPlacer placer(*writer, arguments.dedupe ? memory / 4 / 64 : 0);
  BuildReport report;
  btrfs::MakeReport made;
  {
    ProgressBar bar(progress);
    StoredContents stored(placer, writer->geometry(), codecs, buffers, *pool,
                          {.encoding = build.load.encoding,
                           .inline_max = build.load.inline_max,
                           .memory = memory / 8,
                           .temporary_directory = temporary_directory});
    progress.begin_phase("reading sources");
    TRY(sources.read(inventory, stored, *pool));
    TRY(stored.finish());
    const Layout layout = TRY(inventory.finish(&stored));
    if (arguments.reproducible && arguments.seed.empty())
      writer->seed_uuids(TRY(seed_of(layout, arguments, writer->options())));
    uint64_t bytes = 0, inodes = 0;
    for (const Subvolume& subvolume : layout.subvolumes()) {
      bytes += subvolume.bytes;
      inodes += subvolume.inodes;
    }
    progress.begin_phase("building", bytes, inodes);
    report =
        TRY(build_trees(layout, sources.files(), &stored, *writer, placer, codecs, buffers, *pool, build));
    progress.begin_phase("writing trees");
    made = TRY(writer->finish());
  }
  TRY(targets.keep(made));
  const uint64_t skipped = arguments.ignore_errors ? skip.count() : 0;
  if (session.json()) {
    Json object = made_json(made, *writer, paths);
    object["inodes"] = report.inodes;
    object["subvolumes"] = report.subvolumes;
    object["bytes"] = report.bytes;
    object["disk_bytes"] = report.disk_bytes;
    object["shared_bytes"] = placer.bytes_shared();
    object["errors"] = skipped;
    fmt::print("{}\n", object.dump(2));
  }
  if (skipped) session.log().warning("some of the sources could not be read", {{"count", skipped}});
  return skipped ? exit_problems : exit_ok;
}

}  // namespace

void add_btrfs_build(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("build", "Build an image from directories, archives and plans");
  auto arguments = std::make_shared<BuildArguments>();
  verb.add_option("-o,--output", arguments->output, "The image, a file or block device")
      ->type_name("IMAGE")
      ->required();
  verb.add_option("SOURCE", arguments->sources,
                  "Directories, archives (- is standard input), OCI images, plans; later ones win. "
                  "dir:, tar:, oci:, oci-layer:, plan: and file: say what it is")
      ->required();
  verb.add_option("--device", arguments->more_devices, "A further device of the file system")
      ->type_name("FILE")
      ->allow_extra_args(false);
  verb.add_option("--subvol", arguments->subvolumes,
                  "Make this directory a subvolume; PATH:ro a read-only one")
      ->type_name("PATH")
      ->allow_extra_args(false);
  verb.add_option("--default-subvol", arguments->default_subvolume, "Mounted unless told otherwise")
      ->type_name("PATH");
  verb.add_option("--compress", arguments->compress, "zstd[:1-15], zlib[:1-9] or lzo")->type_name("TYPE");
  verb.add_flag("--dedupe", arguments->dedupe, "Store equal content once");
  verb.add_option("--size", arguments->size, "Size of each device (default: what it takes, and 256 MiB free)")
      ->type_name("SIZE")
      ->check(size_at_least(1));
  verb.add_flag("--shrink", arguments->shrink, "The smallest image that holds it");
  verb.add_option("--profile", arguments->profile, "Profile of data and metadata")->type_name("PROFILE");
  arguments->make.declare(verb);
  verb.add_flag("--reproducible", arguments->reproducible,
                "The same input gives the same bytes; times are SOURCE_DATE_EPOCH at most");
  verb.add_option("--seed", arguments->seed, "UUIDs are made from this text")->type_name("TEXT");
  verb.add_option("--time", arguments->time, "Instead of SOURCE_DATE_EPOCH")->type_name("SECONDS");
  verb.add_flag("--all-root", arguments->all_root, "Everything belongs to user and group 0");
  verb.add_flag("--no-xattrs", arguments->no_xattrs, "Leave extended attributes of sources out");
  verb.add_flag("--names", arguments->names,
                "Plans may name users and groups of this machine; with --reproducible, archives' ACLs too");
  verb.add_option("--passwd", arguments->passwd, "Names of users come from this file, as passwd(5) has them")
      ->type_name("FILE");
  verb.add_option("--group", arguments->group, "Names of groups come from this file, as group(5) has them")
      ->type_name("FILE");
  verb.add_flag("-x,--one-file-system", arguments->one_file_system, "Do not go into other mounts");
  verb.add_flag("--ignore-errors", arguments->ignore_errors, "Go on without what cannot be read");
  verb.add_option("--oci-platform", arguments->oci_platform, "OS/ARCH[/VARIANT] of an OCI image")
      ->type_name("PLATFORM");
  verb.add_option("--oci-ref", arguments->oci_reference, "Which image of an OCI layout")->type_name("NAME");
  verb.add_option("--max-inline", arguments->inline_max, "Files of up to so many bytes lie in their tree")
      ->type_name("SIZE")
      ->check(size_at_least(0))
      ->capture_default_str();
  add_threads(verb, arguments->threads, "Threads that read");
  add_memory(verb, arguments->memory, 32 << 20, "What the build may keep in memory");
  verb.add_option("--tmpdir", arguments->temporary,
                  "For what does not fit there (default: $TMPDIR, /var/tmp)")
      ->type_name("DIR");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_build(session, *arguments); });
}

}  // namespace karst::cli

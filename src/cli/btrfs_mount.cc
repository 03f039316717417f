// karst btrfs mount: serves a file system at a directory; and mount.fuse.karst, the same for mount(8).
#include <syslog.h>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <atomic>
#include <climits>
#include <cstdlib>

#include "cli/image_arguments.h"
#include "cli/output.h"
#include "core/printable.h"

#ifdef KARST_FUSE
#include "fuse/background.h"
#include "fuse/server.h"
#endif

namespace karst::cli {
namespace {

struct MountArguments {
  ImageArguments image;
  std::string directory;
  std::vector<std::string> options;
  bool foreground = false;
};

#ifdef KARST_FUSE

// Standard error while someone looks at it, then the system's log.
class MountLog : public LogSink {
 public:
  ~MountLog() override {
    if (to_system_) closelog();
  }
  void go_to_system() {
    openlog("karst", LOG_PID, LOG_DAEMON);
    to_system_ = true;
  }
  void write(const LogRecord& record) override {
    if (!to_system_) return text_.write(record);
    constexpr int priorities[] = {LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERR};
    std::string text = record.text();
    constexpr std::string_view own_name = "karst: ";  // which the system's log has already
    syslog(priorities[static_cast<int>(record.level)], "%s",
           text.c_str() + (text.starts_with(own_name) ? own_name.size() : 0));
  }

 private:
  TextSink text_{stderr};
  std::atomic<bool> to_system_{false};
};

Result<fuse::MountOptions> parse_options(const MountArguments& arguments) {
  fuse::MountOptions options;
  for (const std::string& text : arguments.options) TRY(fuse::parse_mount_options(text, options));
  return options;
}

// What -o says goes before the options that all verbs have.
btrfs::ImageOptions image_options(const MountArguments& arguments, const fuse::MountOptions& options) {
  btrfs::ImageOptions image = arguments.image.options();
  image.devices.insert(image.devices.end(), options.devices.begin(), options.devices.end());
  if (options.subvol) image.subvol = options.subvol;
  if (options.subvolid) image.subvolid = options.subvolid;
  image.replay_log = image.replay_log && options.replay_log;
  image.allow_missing = options.degraded;
  return image;
}

std::string absolute(const std::string& name) {
  char path[PATH_MAX];
  return realpath(name.c_str(), path) ? path : name;
}

Result<void> serve(const MountArguments& arguments, const fuse::MountOptions& options,
                   fuse::Background& background) {
  MountLog sink;
  RateLimitSink limited(sink);
  Logger log = Logger(limited).with({{"mount", arguments.directory}});
  auto cache = options.cache_size
                   ? std::make_unique<cache::Cache>(cache::CacheOptions{.limit = *options.cache_size})
                   : TRY(arguments.image.make_cache());
  btrfs::ImageOptions opening = image_options(arguments, options);
  auto image = TRY(btrfs::Image::open(opening, *cache, log).context([&] { return arguments.image.image; }));
  if (opening.subvol && opening.subvolid && image->root().subvolume != *opening.subvolid)
    return Error(err::invalid, "subvol and subvolid mean different subvolumes")
        .expected(*opening.subvolid, image->root().subvolume);
  const fuse::HeldSignals held;
  auto server =
      TRY(fuse::Server::create(*image, arguments.directory, absolute(arguments.image.image), options, log));
  if (!arguments.foreground) {
    TRY(background.ready());
    sink.go_to_system();
  }
  auto served = server->run(fuse::Server::Signals::heeded);
  if (!served) log.error("serving ended", {}, &served.error());
  return served;
}

Result<int> run_mount(const MountArguments& arguments) {
  auto options = parse_options(arguments);
  if (!options) {
    print_problem(options.error());
    return exit_usage;
  }
  fuse::Background background;
  if (!arguments.foreground)
    if (auto status = TRY(background.fork())) return *status;
  TRY(serve(arguments, *options, background));
  return exit_ok;
}

#else

Result<int> run_mount(const MountArguments&) {
  return Error(err::unsupported, "this build of karst is without FUSE");
}

#endif

// mount(8) says "rw" whenever nobody said "ro".
std::string without_rw(const std::string& options, bool& was_there) {
  std::string rest;
  for (size_t at = 0; at < options.size();) {
    size_t end = options.find(',', at);
    while (end != std::string::npos && end > at && options[end - 1] == '\\') end = options.find(',', end + 1);
    end = std::min(end, options.size());
    std::string word = options.substr(at, end - at);
    if (word == "rw")
      was_there = true;
    else
      rest += (rest.empty() ? "" : ",") + word;
    at = end + 1;
  }
  return rest;
}

}  // namespace

void add_btrfs_mount(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("mount", "Show a file system at a directory (FUSE, read-only)");
  auto arguments = std::make_shared<MountArguments>();
  arguments->image.declare(verb);
  verb.add_option("DIR", arguments->directory, "Where; an empty directory")->required();
  verb.add_option("-o", arguments->options,
                  "Mount options: ro, subvol=PATH, subvolid=ID, degraded, allow_other …")
      ->type_name("OPTIONS")
      ->allow_extra_args(false);
  verb.add_flag("-f,--foreground", arguments->foreground,
                "Stay in the foreground until unmounted or interrupted");
  session.verb(verb, [arguments] { return run_mount(*arguments); });
}

// The conventions of mount(8) for helpers: its options, and its exit statuses 1 (usage) and 32 (not mounted).
int run_mount_helper(int argc, char** argv) {
  constexpr int helper_usage = 1, helper_failed = 32;
  CLI::App app{"Mount a btrfs file system with karst, for mount(8)", "mount.fuse.karst"};
  app.set_version_flag("-V,--version", "karst " KARST_VERSION);
  MountArguments arguments;
  std::vector<std::string> options;
  std::string type;
  bool fake = false, ignored = false;
  app.add_option("IMAGE", arguments.image.image, "Image file or block device with the file system")
      ->required();
  app.add_option("DIR", arguments.directory, "Where")->required();
  app.add_option("-o", options, "Mount options")->type_name("OPTIONS")->allow_extra_args(false);
  app.add_flag("-f", fake, "Do everything but mount");
  app.add_flag("-n,-s,-v", ignored, "Taken and without effect");
  app.add_option("-t", type, "Taken and without effect")->type_name("TYPE");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? exit_ok : helper_usage;
  }
  bool for_writing = false;
  for (const std::string& text : options) arguments.options.push_back(without_rw(text, for_writing));
#ifdef KARST_FUSE
  if (fake) return parse_options(arguments) ? exit_ok : helper_usage;
#endif
  auto status = run_mount(arguments);
  if (!status) print_problem(status.error());
  if (!status || (*status != exit_ok && *status != exit_usage)) return helper_failed;
  if (*status == exit_usage) return helper_usage;
  if (for_writing) fmt::print(stderr, "karst: {}: mounted read-only\n", printable(arguments.image.image));
  return exit_ok;
}

}  // namespace karst::cli

#include "cli/cli.h"

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <clocale>
#include <csignal>
#include <cstring>
#include <string_view>

#include "cli/session.h"

namespace karst::cli {

int run(int argc, char** argv) {
  // Names are bytes; UTF-8 is how libarchive is to understand them.
  setlocale(LC_CTYPE, "C.UTF-8");
  signal(SIGPIPE, SIG_IGN);

  // mount(8) runs us under this name for the type fuse.karst.
  if (argc > 0 && std::string_view(basename(argv[0])) == "mount.fuse.karst")
    return run_mount_helper(argc, argv);

  CLI::App app{"karst: Linux's storage stack in user space", "karst"};
  app.set_version_flag("--version", "karst " KARST_VERSION);
  app.require_subcommand(0, 1);
  app.failure_message(CLI::FailureMessage::simple);
  Session session;
  add_btrfs(app, session);
  add_thin(app, session);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? exit_ok : exit_usage;
  }
  return session.finish(app);
}

void add_btrfs(CLI::App& app, Session& session) {
  CLI::App& btrfs = *app.add_subcommand("btrfs", "Work with btrfs file systems in images and devices");
  btrfs.require_subcommand(0, 1);
  add_btrfs_ls(btrfs, session);
  add_btrfs_cat(btrfs, session);
  add_btrfs_stat(btrfs, session);
  add_btrfs_export(btrfs, session);
  add_btrfs_df(btrfs, session);
  add_btrfs_subvolume(btrfs, session);
  add_btrfs_dump_super(btrfs, session);
  add_btrfs_dump_tree(btrfs, session);
  add_btrfs_restore(btrfs, session);
  add_btrfs_find_root(btrfs, session);
  add_btrfs_du(btrfs, session);
  add_btrfs_check(btrfs, session);
  add_btrfs_mount(btrfs, session);
  add_btrfs_mkfs(btrfs, session);
  add_btrfs_build(btrfs, session);
}

}  // namespace karst::cli

// What every verb has: where messages go, how a verb is declared, how it ends.
#pragma once
#include <CLI/App.hpp>

#include <functional>
#include <string>

#include "core/log.h"
#include "core/result.h"

namespace karst::cli {

enum ExitStatus : int { exit_ok = 0, exit_problems = 1, exit_usage = 2, exit_failed = 3 };

class Session {
 public:
  Session();
  const Logger& log() const { return log_; }
  // For what is worth a line in a server's log, but not on a terminal unless something is wrong.
  const Logger& warnings() const { return warnings_; }
  bool json() const { return json_; }

  // Declares a verb below `system`. `run` is called after parsing; an error it returns is printed and makes
  // exit_failed.
  void verb(CLI::App& verb, std::function<Result<int>()> run);
  // Adds --json to a verb that prints facts.
  void offer_json(CLI::App& verb);
  // Runs the verb that was chosen.
  int finish(CLI::App& app);

 private:
  Result<int> run_chosen() const;
  TextSink text_;
  RateLimitSink limited_;
  Logger log_, warnings_;
  bool json_ = false;
  std::function<Result<int>()> chosen_;
};

// Each in the file of its name.
void add_btrfs(CLI::App& app, Session& session);
void add_btrfs_ls(CLI::App& btrfs, Session& session);
void add_btrfs_cat(CLI::App& btrfs, Session& session);
void add_btrfs_stat(CLI::App& btrfs, Session& session);
void add_btrfs_export(CLI::App& btrfs, Session& session);
void add_btrfs_df(CLI::App& btrfs, Session& session);
void add_btrfs_du(CLI::App& btrfs, Session& session);
void add_btrfs_subvolume(CLI::App& btrfs, Session& session);
void add_btrfs_dump_super(CLI::App& btrfs, Session& session);
void add_btrfs_dump_tree(CLI::App& btrfs, Session& session);
void add_btrfs_restore(CLI::App& btrfs, Session& session);
void add_btrfs_find_root(CLI::App& btrfs, Session& session);
void add_btrfs_check(CLI::App& btrfs, Session& session);
void add_btrfs_mount(CLI::App& btrfs, Session& session);
void add_btrfs_mkfs(CLI::App& btrfs, Session& session);
void add_btrfs_build(CLI::App& btrfs, Session& session);
void add_thin(CLI::App& app, Session& session);
int run_mount_helper(int argc, char** argv);  // mount.fuse.karst

}  // namespace karst::cli

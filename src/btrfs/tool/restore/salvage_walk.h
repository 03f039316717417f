// All that can still be found of a tree of files, parents before children.
//
// First what a walk from the start meets; then, of each subvolume whose tree turned out to be damaged, the
// inodes that no directory leads to (orphans.h), directories among them with all below them; then subvolumes
// that no directory leads to. What was lost is told as it is met; directories that may be
// older when all below them was given. In trees that are whole nothing is read
// twice and nothing remembered.
#pragma once
#include <functional>
#include <memory>

#include "btrfs/tool/restore/orphans.h"
#include "btrfs/tool/walk.h"

namespace karst::btrfs {

struct SalvageOptions {
  bool cross_subvolumes = false;
  // After orphans were given, gives their directory again, which has other times now than its own.
  bool repeat_directories = false;
  // Of a path without a leading slash; what is not wanted is not entered either.
  std::function<bool(const std::string& path)> wanted;
  std::function<void(const WalkEntry& entry)> seen;  // what is given
};

class SalvageWalk final : public EntrySource {
 public:
  // `start` is a directory; all that is found of its subvolume is given if it is the subvolume's root.
  // `attributes_lost`: those of the start are made up.
  SalvageWalk(const Filesystem& fs, const Located& start, bool attributes_lost, SalvageOptions options,
              LossListener lost);

  Result<std::optional<WalkEntry>> next() override;

  // Subvolumes that were met and not entered, since they were not asked for.
  uint64_t subvolumes_skipped() const { return subvolumes_skipped_; }

 private:
  void enter(const Located& start, std::string path, bool attributes_lost);
  std::optional<WalkEntry> next_of_walk();
  std::optional<WalkEntry> next_orphan();
  std::optional<WalkEntry> repeated_directory();
  bool next_subvolume();
  std::string in_copy(std::string_view path) const;
  bool take(WalkEntry& entry);
  void note_place(const WalkEntry& entry);
  void tell_lost_subvolume(const WalkEntry& entry);
  void tell_lost_names(const Tree& tree);
  void tell_older_directories(const Tree& tree);
  void tell_lost_names(InodeId directory, std::string path);

  const Filesystem& fs_;
  const Located start_;
  const SalvageOptions options_;
  LossListener lost_;
  Places places_;
  std::optional<Walker> walker_;
  bool start_lost_ = false;           // the attributes of the walk's start
  std::string base_, path_;           // of the walk's start in the copy; of what was given last
  std::vector<uint64_t> subvolumes_;  // entered, in that order
  size_t subvolumes_scanned_ = 0;
  std::optional<OrphanScan> orphans_;         // of subvolumes_[subvolumes_scanned_ - 1]
  std::optional<InodeId> changed_directory_;  // where orphans were given
  std::optional<std::vector<std::pair<uint64_t, std::string>>>
      unreached_;  // subvolumes, and where they go; last first
  uint64_t subvolumes_skipped_ = 0;
};

}  // namespace karst::btrfs

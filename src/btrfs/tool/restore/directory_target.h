// A directory as the target of a copy.
//
// Threads make files, links and nodes in directories that the walking thread has made before; what depends on
// the order (hard links, attributes of directories and of large files) is done as parts are taken. All names
// are reached through DirectoryHandles. Ranges that cannot be read stay holes. Of a file that is larger than
// the target takes, the beginning is there and the rest is told. What the user may not set
// (owners, attributes of other name spaces) is counted and left.
#pragma once
#include <atomic>
#include <string>
#include <unordered_set>

#include "btrfs/tool/copy_tree.h"
#include "btrfs/tool/restore/directory_handles.h"
#include "core/mutex.h"
#include "core/per_thread.h"

namespace karst::btrfs {

struct DirectoryTargetOptions {
  bool overwrite = false;  // replaces files that exist; directories are always used as they are
  bool owners = true, modes_and_times = true, xattrs = true;
};

class DirectoryTarget final : public CopyTarget {
 public:
  // Opens the directory, and makes it if it is missing. `lost` is told what fails when parts are taken.
  static Result<std::unique_ptr<DirectoryTarget>> open(const std::string& path,
                                                       const DirectoryTargetOptions& options,
                                                       LossListener lost);
  ~DirectoryTarget() override;

  Result<void> prepare(const CopiedEntry& entry) override;
  std::unique_ptr<Part> new_part() override;
  Result<void> add(Part& part, CopiedEntry& entry, Bytes contents, Failures failures) override;
  Result<void> begin_pieces(Part& part, CopiedEntry& entry) override;
  Result<void> add_piece(Part& part, const CopiedEntry& entry, uint64_t offset, Bytes contents,
                         Failures failures, bool last) override;
  void failed(const CopiedEntry& entry) override;
  Result<void> take(Part& part) override;
  // Completes the directories that are still open, after everything has been taken.
  Result<void> finish();

  // What could not be set, of all entries.
  struct Unset {
    uint64_t owners = 0, modes = 0, times = 0, xattrs = 0;
  };
  Unset unset() const;

 private:
  DirectoryTarget(int root, const DirectoryTargetOptions& options, LossListener lost);
  Result<int> create_file(const NameInDirectory& at);
  Result<void> make_place(const NameInDirectory& at);
  Result<void> make_special(const NameInDirectory& at, const CopiedEntry& entry);
  Result<void> link(const CopiedEntry& entry);
  void set_attributes(const NameInDirectory& at, const CopiedEntry& entry);
  void set_xattrs(const char* path, const CopiedEntry& entry, bool acls);
  void remove_inherited(const char* path, const CopiedEntry& entry);
  void complete(const CopiedEntry& entry);
  void complete_directories(std::string_view next_path);

  const int root_;  // owned
  const DirectoryTargetOptions options_;
  LossListener lost_;
  PerThread<DirectoryHandles> handles_;
  std::vector<CopiedEntry> open_directories_;  // taken, and not all of their entries; innermost last
  std::optional<CopiedEntry> large_;           // a file whose pieces are being taken
  static constexpr LockClass failed_class{"btrfs.directory-target.failed"};
  Mutex failed_mutex_{failed_class};
  std::unordered_set<std::string> failed_ GUARDED_BY(failed_mutex_);   // paths of files with several names
  std::atomic<uint64_t> owners_{0}, modes_{0}, times_{0}, xattrs_{0};  // Unset; statistics only
};

}  // namespace karst::btrfs

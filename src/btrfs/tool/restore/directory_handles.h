// Directories below one that is trusted, opened component by component: no symbolic link is followed, ".." is
// no component, so nothing outside is ever reached, whatever names and links an image has planted.
//
// Keeps the directories of the path used last open, at most 64 of them. Not thread-safe; one for each thread.
//
// What is restored later may belong into a directory whose mode, restored already, forbids its owner to write
// there: then the owner takes the rights, for as long as the directory is open here.
#pragma once
#include <sys/types.h>

#include <cerrno>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace karst::btrfs {

// A name in an open directory; the descriptor is the DirectoryHandles', until its next call.
struct NameInDirectory {
  int directory;
  std::string name;
};

class DirectoryHandles {
 public:
  // `root` is borrowed and outlives this.
  explicit DirectoryHandles(int root) : root_(root) {}
  ~DirectoryHandles();
  DirectoryHandles(const DirectoryHandles&) = delete;
  DirectoryHandles& operator=(const DirectoryHandles&) = delete;

  // The directory in which the last component of `path` stands ("." of the root for the empty path).
  // Directories on the way that are missing are made, for the owner alone, if `make_missing`.
  Result<NameInDirectory> find(std::string_view path, bool make_missing);

  // Calls `act`, which returns a negative number and sets errno when it fails, on what is in the directory
  // found last; again with the owner's rights where those were missing.
  template <typename F>
  int with_rights(F&& act) {
    const int result = act();
    return result < 0 && errno == EACCES && take_rights(steps_.size()) ? act() : result;
  }

 private:
  struct Step {
    std::string name;
    int fd;
    std::optional<mode_t> mode;  // to be given back when it is closed
  };
  void close_step(Step& step);
  void drop(size_t from);
  bool take_rights(size_t depth);
  Result<int> open_step(int parent, const std::string& name, bool make_missing);

  const int root_;
  std::vector<Step> steps_;  // fd is -1 where it was closed to keep the number small
};

// Splits at slashes. err::invalid for a component that no directory entry can have.
Result<std::vector<std::string>> path_components(std::string_view path);

}  // namespace karst::btrfs

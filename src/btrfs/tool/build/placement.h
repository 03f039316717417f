// What is declared before sources are read: where subvolumes are, and which properties hold below which path.
//
// Thread-safe: constant after create().
#pragma once
#include <vector>

#include "btrfs/tool/build/inventory.h"

namespace karst::btrfs::build {

// A path in the subvolume that it is in.
struct Located {
  size_t subvolume;       // place among subvolumes()
  std::string_view path;  // from that subvolume's root
};

class Placement {
 public:
  // err::invalid: a path that is not normal, declared twice, inside a snapshot; a snapshot of what is none or
  // of a snapshot; a default that is no subvolume. The text has the path.
  static Result<Placement> create(const Declarations& declarations);

  // As Layout::subvolumes(), without what a walk will give.
  const std::vector<Subvolume>& subvolumes() const { return subvolumes_; }
  // The path of a subvolume without its leading slash.
  std::string_view path_of(size_t subvolume) const {
    return std::string_view(subvolumes_[subvolume].path).substr(1);
  }
  // A subvolume's own path is in it, as its root: "". Borrowed from `path`.
  Located locate(std::string_view path) const;
  // Subvolumes whose paths are `path` or below it, [first, last).
  std::pair<size_t, size_t> at_or_below(std::string_view path) const;

  bool has_properties() const { return !rules_.empty(); }
  const Properties& properties_at(std::string_view path) const;

 private:
  size_t nearest_rule(std::string_view path) const;

  std::vector<Subvolume> subvolumes_;  // in the order of paths, which is that of ids
  struct Rule {
    std::string path;
    Properties properties;
    size_t enclosing;  // place of the rule for the nearest path above; its own if there is none
  };
  std::vector<Rule> rules_;  // in the order of paths
};

}  // namespace karst::btrfs::build

// Plan files: JSON that names, for each path, where it comes from and what it is like. docs/build-plan.md
// explains them, docs/json/btrfs-build-plan.schema.json is their schema.
//
// Unknown keys and values of the wrong kind are errors (err::source_plan) with the entry's path and the key.
// A plan is read twice, entry by entry: once for what it declares, and once, in its turn among the sources,
// for what it says. Memory does not grow with it but by its declarations.
#pragma once
#include <string>

#include "btrfs/tool/build/source.h"

namespace karst::btrfs::build {

// One entry, checked.
struct PlanEntry {
  std::string path;  // normalised
  std::optional<SourceSpec>
      source;  // "source"; a relative location is made one relative to the plan's directory
  std::optional<Attributes> made;        // a type is given: the plan makes it
  std::string content;                   // of a file or symlink that is made
  std::optional<std::string> hard_link;  // target, normalised
  bool remove = false;
  AttributesPatch patch;  // owner, mode, times
  XattrChanges xattrs;    // "xattrs", "acl", "default_acl"
  bool subvolume = false, readonly = false, default_subvolume = false;
  std::optional<std::string> snapshot_of;  // normalised
  std::optional<Properties> properties;

  // Whether there is something to be changed about what is there.
  bool changes() const;
};

using PlanVisitor = FunctionRef<Result<void>(PlanEntry&& entry)>;

// Calls back for each entry in order. `location` is for messages and for relative sources.
Result<void> read_plan(std::string_view text, const std::string& location, const IdNames& names,
                       PlanVisitor visit);
Result<void> read_plan_file(const std::string& location, const IdNames& names, PlanVisitor visit);

// Adds what an entry declares.
void declare(const PlanEntry& entry, Declarations& declarations);

}  // namespace karst::btrfs::build

// The entries of a directory with more names than a job should carry: their items, sorted in a temporary file
// where memory is not enough.
//
// Not thread-safe. Errors: those of the temporary file; err::source_unsupported for more names of one hash
// than a leaf has room for.
#pragma once
#include "btrfs/tool/build/inode_items.h"
#include "core/external_sorter.h"

namespace karst::btrfs::build {

class LargeDirectory {
 public:
  // From so many entries on.
  static constexpr uint64_t least = 20'000;

  LargeDirectory(const InodeCopy& inode, uint64_t generation, const std::string& temporary_directory)
      : number_(inode.number),
        generation_(generation),
        path_(inode.path),
        items_({.memory = 16 << 20, .directory = temporary_directory}) {}

  uint64_t number() const { return number_; }
  Result<void> add(const Child& child);
  // Gives all items in key order, once.
  Result<void> for_each(const Geometry& geometry, FunctionRef<Result<void>(const Key&, Bytes)> each);

 private:
  const uint64_t number_, generation_;
  const std::string path_;  // for messages
  ExternalSorter items_;
};

}  // namespace karst::btrfs::build

// A directory as a source: its tree is scanned into an inventory, contents and xattrs are left for
// SourceReader.
//
// Directories are listed breadth first, some at a time by each thread; each one's entries are sorted by name,
// so that an inventory of one source arrives in its final order. Which thread does what changes nothing in
// the result.
//
// Memory: batches of a few MiB, one for each thread and a few more; of a very big directory, 16384 names at a
// time.
#pragma once
#include <functional>

#include "btrfs/tool/build/source.h"

namespace karst::btrfs::build {

struct DirectoryScan {
  const SourceFiles& files;
  uint32_t source;     // place in files
  std::string target;  // where the root is in the image, normalised
  const SourceSpec& spec;
  const SourceOptions& options;
  // For tests: called when a directory has been listed and before its entries are looked at.
  std::function<void(std::string_view directory)> on_listed;
};

Result<void> scan_directory(const DirectoryScan& scan, Inventory& inventory, WorkerPool& pool);

// One file of any type, which becomes `scan.target`: the entry `name` of the source's root.
Result<void> scan_file(const DirectoryScan& scan, std::string_view name, Inventory& inventory);

// What a source's overrides do to each of its entries.
void apply_overrides(const SourceOverrides& overrides, Attributes& attributes);

}  // namespace karst::btrfs::build

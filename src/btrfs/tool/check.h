// Checking a file system without changing it: what `btrfs check` looks for, in parallel and in bounded
// memory.
//
// The work is told in check/: a pass over the extent tree in order (allocation.h), a scan of every tree block
// (scan.h), both telling facts that are sketched (sketch.h), and exact passes where the sketches do not
// cancel. Memory: the cache, what the options allow, and some 3 MiB for each thread.
#pragma once
#include <memory>

#include "btrfs/tool/check/findings.h"
#include "btrfs/tool/check/qgroups.h"
#include "btrfs/tree/filesystem.h"
#include "core/progress.h"
#include "core/worker_pool.h"

namespace karst::btrfs {

struct CheckOptions {
  bool data_csum = false;          // read all data and compare it with its checksums, every copy
  size_t memory = 32 << 20;        // bytes for the records of exact passes
  size_t table_memory = 96 << 20;  // bytes for what is remembered to the end: check/allowance.h
};

// As the stock tool prints them at its end.
struct CheckTotals {
  uint64_t bytes_used = 0, csum_bytes = 0;
  uint64_t tree_bytes = 0, fs_tree_bytes = 0, extent_tree_bytes = 0;
  uint64_t wasted_bytes = 0, data_allocated = 0, data_referenced = 0;
};

struct CheckResult {
  uint64_t problems = 0, warnings = 0;
  CheckTotals totals;
  check::QgroupReport qgroups;
};

// Errors are those of the machinery (memory, a cancelled pool; err::limit if there are more tree blocks,
// roots or partly checksummed extents than table_memory has room for); what is wrong with the image goes to
// the receiver.
Result<CheckResult> check_filesystem(const Filesystem& fs, const CheckOptions& options, WorkerPool& pool,
                                     ProgressRef progress, check::CheckReceiver& receiver);

}  // namespace karst::btrfs

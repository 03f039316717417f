// Whether a pool's metadata is consistent: superblock, trees, devices against their mappings, and the counts
// of every metadata and data block against who really uses it.
//
// Reads only, unless asked to repair what can be repaired in place (leak_repair.h).
#pragma once
#include "block/device.h"
#include "cache/cache.h"
#include "core/progress.h"
#include "core/worker_pool.h"
#include "thin/tool/findings.h"
#include "thin/tool/metadata_reader.h"
#include "thin/tool/space_check.h"

namespace karst::thin {

struct CheckOptions {
  bool super_block_only = false;
  bool skip_mappings = false;
  bool snapshot_only = false;  // devices and mappings of the metadata snapshot; nothing is counted
  bool repair_leaks = false;   // the device is writable
  bool clear_needs_check = false;
  bool ignore_non_fatal = false;
  uint64_t memory = uint64_t{256} << 20;  // for tables: err::limit says how much is needed
};

struct CheckReport {
  uint64_t transaction_id = 0, metadata_blocks = 0, metadata_free = 0;
  uint64_t devices = 0;  // those of the snapshot too
  uint64_t fatal = 0, non_fatal = 0, warnings = 0;
  uint64_t leaks_repaired = 0;  // bitmaps
  bool cleared_needs_check = false;
  bool good = false;  // by the options
  // Who uses what, for who goes on with it; not there if the superblock was bad. Refers to all that was
  // given.
  std::unique_ptr<TreeScan> scan;
  uint32_t data_block_sectors = 0;
};

// Errors: a device that cannot be read at all, memory. What is wrong with the metadata goes to the findings.
Result<CheckReport> check_metadata(block::Device& device, cache::Cache& cache, WorkerPool& pool,
                                   const CheckOptions& options, ProgressRef progress, Findings& findings);

}  // namespace karst::thin

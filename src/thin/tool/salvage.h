// Tells a sink what can still be read of a damaged pool's metadata, and somebody else what cannot.
//
// Where the superblock, or the trees of devices that it leads to, cannot be read, other roots are looked for
// (root_finder.h). Of mappings everything is told that is in nodes which are whole, in the range that their
// parents give them.
#pragma once
#include <string>

#include "core/function_ref.h"
#include "core/worker_pool.h"
#include "thin/tool/dump.h"

namespace karst::thin {

struct SalvageReport {
  bool roots_searched = false;  // the superblock's were not good
  uint64_t devices = 0, mappings = 0;
  uint64_t losses = 0;
};

// Called for each loss.
using TellLoss = FunctionRef<void(const std::string& text)>;

// Without a superblock, the overrides have to say what only it knows (err::invalid). err::corrupt if no roots
// are found.
Result<SalvageReport> salvage(block::Device& device, cache::Cache& cache, WorkerPool& pool,
                              const DumpOptions& options, PoolSink& sink, TellLoss tell);

}  // namespace karst::thin

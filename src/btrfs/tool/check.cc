#include "btrfs/tool/check.h"

#include <thread>
#include <unordered_map>

#include "btrfs/tool/check/allocation.h"
#include "btrfs/tool/check/blocks.h"
#include "btrfs/tool/check/data_csums.h"
#include "btrfs/tool/check/devices.h"
#include "btrfs/tool/check/extent_exact.h"
#include "btrfs/tool/check/free_space.h"
#include "btrfs/tool/check/inode_exact.h"
#include "btrfs/tool/check/log.h"
#include "btrfs/tool/check/roots.h"
#include "btrfs/tool/check/scan.h"

namespace karst::btrfs {
namespace check {
namespace {

// Adds facts to the sketch of references, or to that of checksums.
class SketchSink final : public FactSink {
 public:
  explicit SketchSink(const SketchKey& key) : key_(key) {}
  void add(const Fact& fact, Times times) override {
    (fact.kind == FactKind::checksummed ? checksums : references).add(key_, fact, times);
  }
  BucketSketch references, checksums;

 private:
  const SketchKey& key_;
};

// One sink for each thread that asks.
class SketchSinks {
 public:
  explicit SketchSinks(const SketchKey& key) : key_(key) {}
  FactSink& mine() {
    MutexLock lock(mutex_);
    auto& sink = sinks_[std::this_thread::get_id()];
    if (!sink) sink = std::make_unique<SketchSink>(key_);
    return *sink;
  }
  // When no thread uses them any more.
  std::pair<BucketSketch, BucketSketch> sum() {
    MutexLock lock(mutex_);
    std::pair<BucketSketch, BucketSketch> total;
    for (const auto& [thread, sink] : sinks_) {
      total.first.add(sink->references);
      total.second.add(sink->checksums);
    }
    return total;
  }

 private:
  static constexpr LockClass lock_class{"check.sinks"};
  const SketchKey& key_;
  Mutex mutex_{lock_class};
  std::unordered_map<std::thread::id, std::unique_ptr<SketchSink>> sinks_ GUARDED_BY(mutex_);
};

class Check {
 public:
  Check(State& state, const CheckOptions& options) : state_(state), options_(options) {}

  Result<void> run() {
    bool has_log = state_.fs.log_root_tree().has_value();
    begin(1, has_log ? "checking log" : "checking log skipped (none written)");
    TRY(check_log(state_));
    begin(2, "checking root items");
    TRY(read_roots(state_));
    begin(3, "checking extents");
    check_superblocks(state_);
    TRY(check_extents());
    bool has_tree = (state_.geometry().compat_ro & compat_ro::free_space_tree) != 0;
    begin(4, has_tree ? "checking free space tree" : "checking free space cache");
    check_free_space_groups(state_);
    begin(5, "checking fs roots");
    TRY(sum_nodes(state_));
    TRY(check_file_trees(state_));
    if (options_.data_csum) {
      uint64_t sectors = state_.statistics.csum_bytes / state_.geometry().checksum_size;
      begin(6, "checking csums against data", sectors * state_.geometry().sectorsize);
      TRY(check_data());
    } else {
      begin(6, "checking only csums items (without verifying data)");
    }
    begin(7, "checking root refs");
    TRY(check_root_refs(state_));
    bool quotas = quotas_enabled(state_);
    begin(8, quotas ? "checking quota groups" : "checking quota groups skipped (not enabled on this FS)");
    if (quotas) qgroups_ = TRY(check_qgroups(state_));
    bool all_read = state_.extents_known && state_.checksums_known;
    if (!all_read && state_.report.problems() == 0)
      state_.report.add(finding::bad_block, "a part of the extent tree or the checksum tree cannot be read");
    return {};
  }
  QgroupReport take_qgroups() { return std::move(qgroups_); }

 private:
  void begin(unsigned number, const char* what, uint64_t bytes = 0) {
    state_.report.phase(fmt::format("[{}/8] {}", number, what));
    state_.progress.begin_phase(what, bytes);
  }

  Result<void> check_data() {
    if (state_.geometry().super_flags & (super_flag::metadump | super_flag::metadump_v2)) {
      state_.report.phase("skip data csum verification for metadata dump");
      return {};
    }
    return check_data_csums(state_);
  }

  Result<void> check_extents() {
    SketchSinks sinks(state_.key);
    auto make_sink = [&]() -> FactSink& { return sinks.mine(); };
    TRY(check_allocation(state_, {.make_sink = make_sink}));
    // Why not in passes over ranges of addresses, each with its own blocks only: a node needs the sums of its
    // children whatever their addresses, quota groups need the subvolumes of all blocks at once, and each
    // pass would read all nodes and the extent tree again. A file system of 10 GB of tree blocks fits the
    // default.
    TRY(state_.allowance.take(state_.tree_blocks * BlockTable::bytes_each,
                              fmt::format("{} tree blocks", state_.tree_blocks)));
    tell_roots(state_, sinks.mine());
    TRY(scan_trees(state_, state_.roots, {.make_sink = make_sink}));
    auto [references, checksums] = sinks.sum();
    TRY(explain_extents(state_, references.dirty(), checksums.dirty()));
    TRY(check_blocks(state_));
    check_devices(state_);
    return {};
  }

  State& state_;
  const CheckOptions& options_;
  QgroupReport qgroups_;
};

CheckTotals totals_of(const Statistics& statistics) {
  CheckTotals totals;
  totals.bytes_used = statistics.bytes_used;
  totals.csum_bytes = statistics.csum_bytes;
  totals.tree_bytes = statistics.tree_bytes;
  totals.fs_tree_bytes = statistics.fs_tree_bytes;
  totals.extent_tree_bytes = statistics.extent_tree_bytes;
  totals.wasted_bytes = statistics.wasted_bytes;
  totals.data_allocated = statistics.data_allocated;
  totals.data_referenced = statistics.data_referenced;
  return totals;
}

}  // namespace
}  // namespace check

Result<CheckResult> check_filesystem(const Filesystem& fs, const CheckOptions& options, WorkerPool& pool,
                                     ProgressRef progress, check::CheckReceiver& receiver) {
  check::Report report(receiver);
  check::State state{fs, report, pool, progress, options.memory, check::Allowance(options.table_memory)};
  check::Check check(state, options);
  TRY(check.run());
  report.finish();
  return CheckResult{report.problems(), report.warnings(), check::totals_of(state.statistics),
                     check.take_qgroups()};
}

}  // namespace karst::btrfs

#include "thin/tool/check.h"

#include <algorithm>

#include "thin/format/block.h"
#include "thin/format/errors.h"
#include "thin/tool/leak_repair.h"

namespace karst::thin {
namespace {

constexpr LockClass roots_lock{"thin.check.roots"};

class PoolCheck {
 public:
  PoolCheck(block::Device& device, cache::Cache& cache, WorkerPool& pool, const CheckOptions& options,
            ProgressRef progress, Findings& findings)
      : device_(device),
        cache_(cache),
        pool_(pool),
        options_(options),
        progress_(progress),
        findings_(findings) {}

  Result<CheckReport> run();

 private:
  // A state of the pool: the current one, or the snapshot.
  struct State {
    std::unique_ptr<MetadataReader> metadata;
    std::vector<MetadataReader::Device> devices;
    const Superblock& super() const { return metadata->super(); }
  };
  const Superblock& super() const { return *overlay<Superblock>(super_); }
  bool is_blamed(const Error& error) const { return error.is(err::corrupt) || error.is(err::not_found); }
  Result<bool> read_super();
  Result<bool> prepare();
  Result<std::optional<State>> open_state(const Reading& reading, const FindingKind& kind);
  Result<void> scan_device_trees(const State& state);
  Result<bool> open_states();
  Result<void> check_mappings();
  Result<void> check_devices(const State& state);
  Result<void> check_space();
  Result<void> check_all();
  Result<void> repair();

  block::Device& device_;
  cache::Cache& cache_;
  WorkerPool& pool_;
  const CheckOptions& options_;
  const ProgressRef progress_;
  Findings& findings_;
  std::vector<std::byte> super_;
  std::unique_ptr<TreeScan> scan_;
  std::optional<SpaceCheck> data_space_, metadata_space_;
  std::vector<State> states_;
  std::vector<MetadataBlock> mapping_roots_;
  CheckReport report_;
};

Result<bool> PoolCheck::read_super() {
  auto read = read_superblock(device_, superblock_at);
  if (!read && read.error().is(err::io) && !read.error().is(err::checksum)) return std::move(read).error();
  if (!read) {
    findings_.add(finding::superblock, read.error());
    return false;
  }
  super_ = std::move(*read);
  const SpaceMapRoot metadata = super().metadata_space_map();
  report_.transaction_id = super().trans_id;
  report_.data_block_sectors = super().data_block_size;
  report_.metadata_blocks = metadata.nr_blocks;
  report_.metadata_free =
      metadata.nr_blocks - std::min(metadata.nr_blocks.value(), metadata.nr_allocated.value());
  return true;
}

// Tables for all blocks; what the superblock says of their number is looked at first.
Result<bool> PoolCheck::prepare() {
  const uint64_t there = std::min(device_.size() / metadata_block_size, metadata_blocks_max);
  const uint64_t blocks = super().metadata_space_map().nr_blocks,
                 data_blocks = super().data_space_map().nr_blocks;
  if (blocks == 0 || blocks > there) {
    findings_.add(finding::superblock,
                  fmt::format("the metadata has {} blocks, and the device {}", blocks, there));
    return false;
  }
  if (bitmaps_for(data_blocks) >= blocks) {
    findings_.add(
        finding::superblock,
        fmt::format("{} data blocks have no room for their bitmaps in {} blocks", data_blocks, blocks));
    return false;
  }
  if (const uint64_t needed = TreeScan::memory_needed(blocks, data_blocks); needed > options_.memory)
    return Error::make(err::limit, "checking {} metadata and {} data blocks needs {} bytes of memory, of {}",
                       blocks, data_blocks, needed, options_.memory);
  scan_ = TRY(TreeScan::create(device_, blocks, data_blocks, pool_, findings_));
  scan_->refer(superblock_at, BlockRole::superblock, "the pool");
  return true;
}

Result<std::optional<PoolCheck::State>> PoolCheck::open_state(const Reading& reading,
                                                              const FindingKind& kind) {
  auto metadata = MetadataReader::open(device_, cache_, reading);
  if (metadata) {
    if (auto devices = (*metadata)->devices())
      return std::optional<State>(State{std::move(*metadata), std::move(*devices)});
    else if (!is_blamed(devices.error()))
      return std::move(devices).error();
    else
      findings_.add(kind, devices.error());
  } else {
    findings_.add(kind, metadata.error());
  }
  return std::optional<State>();
}

Result<void> PoolCheck::scan_device_trees(const State& state) {
  const MetadataBlock roots{state.super().data_mapping_root.value()};
  const MetadataBlock details{state.super().device_details_root.value()};
  Mutex mutex{roots_lock};
  // Each leaf is a user of the roots in it, once, whoever shares the leaf.
  TRY(scan_->scan({roots}, BlockRole::roots_node, sizeof(le64), [&](NodeView leaf) {
    MutexLock lock(mutex);
    for (uint32_t i = 0; i < leaf.size(); ++i) mapping_roots_.push_back(leaf.child(i));
  }));
  TRY(scan_->scan({details}, BlockRole::details_node, sizeof(DeviceDetails), [](NodeView) {}));
  TRY(scan_->summarize(roots, BlockRole::roots_node, sizeof(le64)));
  TRY(scan_->summarize(details, BlockRole::details_node, sizeof(DeviceDetails)));
  return {};
}

Result<void> PoolCheck::check_devices(const State& state) {
  for (const MetadataReader::Device& device : state.devices) {
    const NodeSummary sum = TRY(scan_->summarize(device.root, BlockRole::mapping_node, sizeof(le64)));
    const uint64_t expected = device.facts.mapped_blocks;
    const bool known =
        raw(device.root) < scan_->nr_blocks() && scan_->role(device.root) == BlockRole::mapping_node;
    if (!known || sum.state != NodeSummary::whole)
      findings_.add(finding::device, fmt::format("thin device {} has damaged mappings: {} of {} are left",
                                                 device.facts.id, known ? sum.entries : 0, expected));
    else if (sum.entries != expected)
      findings_.add(finding::device, fmt::format("thin device {} has {} mappings, and should have {}",
                                                 device.facts.id, sum.entries, expected));
  }
  return {};
}

Result<void> PoolCheck::check_mappings() {
  progress_.begin_phase("reading mappings");
  TRY(scan_->scan_mappings(mapping_roots_));
  for (const State& state : states_) {
    report_.devices += state.devices.size();
    TRY(check_devices(state));
  }
  return {};
}

Result<void> PoolCheck::check_space() {
  progress_.begin_phase("comparing space maps");
  data_space_.emplace(*scan_, super().data_space_map(), SpaceCheck::Of::data);
  metadata_space_.emplace(*scan_, super().metadata_space_map(), SpaceCheck::Of::metadata);
  TRY(data_space_->visit());
  TRY(metadata_space_->visit());
  TRY(data_space_->compare());
  return metadata_space_->compare();
}

Result<void> PoolCheck::repair() {
  if (super_.empty()) return {};
  auto& changed = *reinterpret_cast<Superblock*>(super_.data());
  bool write = false;
  if (options_.repair_leaks && data_space_ && data_space_->only_leaks() && metadata_space_->only_leaks()) {
    report_.leaks_repaired = data_space_->leaky_bitmaps().size() + metadata_space_->leaky_bitmaps().size();
    if (!data_space_->leaky_bitmaps().empty())
      changed.set_data_space_map(TRY(repair_leaks(*scan_, *data_space_, SpaceCheck::Of::data)));
    if (!metadata_space_->leaky_bitmaps().empty())
      changed.set_metadata_space_map(TRY(repair_leaks(*scan_, *metadata_space_, SpaceCheck::Of::metadata)));
    write = report_.leaks_repaired != 0;
    report_.good =
        report_.good || (report_.fatal == 0 && findings_.count(finding::leak) == report_.non_fatal);
  }
  if (report_.good && options_.clear_needs_check && super().needs_check()) {
    changed.flags &= ~needs_check_flag;
    report_.cleared_needs_check = write = true;
  }
  if (!write) return {};
  TRY(device_.flush());
  seal_block(BlockKind::superblock, superblock_at, super_);
  return device_.write(0, super_, block::IoFlags::fua);
}

Result<bool> PoolCheck::open_states() {
  const bool held = super().held_root != 0;
  if (options_.snapshot_only && !held) return Error(err::not_found, "no current metadata snap");
  if (!options_.snapshot_only) {
    auto current = TRY(open_state({}, finding::devices));
    if (!current) return false;
    states_.push_back(std::move(*current));
  }
  if (held) {
    scan_->refer(MetadataBlock{super().held_root.value()}, BlockRole::superblock, "the superblock");
    auto snapshot = TRY(open_state({.snapshot = true}, finding::metadata_snapshot));
    if (!snapshot) return false;
    states_.push_back(std::move(*snapshot));
  }
  for (const State& state : states_) TRY(scan_device_trees(state));
  return true;
}

Result<void> PoolCheck::check_all() {
  if (!TRY(read_super())) return {};
  if (options_.super_block_only) return {};
  progress_.begin_phase("reading devices");
  if (!TRY(prepare()) || !TRY(open_states()) || options_.skip_mappings) return {};
  TRY(check_mappings());
  // A snapshot has no space maps, and a pool in use goes on changing its own.
  return options_.snapshot_only ? Result<void>() : check_space();
}

Result<CheckReport> PoolCheck::run() {
  TRY(check_all());
  report_.fatal = findings_.fatal();
  report_.non_fatal = findings_.non_fatal();
  report_.warnings = findings_.warnings();
  report_.good = report_.fatal == 0 && (report_.non_fatal == 0 || options_.ignore_non_fatal);
  TRY(repair());
  findings_.finish();
  report_.scan = std::move(scan_);
  return std::move(report_);
}

}  // namespace

Result<CheckReport> check_metadata(block::Device& device, cache::Cache& cache, WorkerPool& pool,
                                   const CheckOptions& options, ProgressRef progress, Findings& findings) {
  if (options.snapshot_only && (options.repair_leaks || options.clear_needs_check))
    return Error(err::invalid, "a metadata snapshot cannot be repaired");
  return PoolCheck(device, cache, pool, options, progress, findings).run();
}

}  // namespace karst::thin

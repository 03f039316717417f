#include "thin/tool/salvage.h"

#include <algorithm>
#include <map>

#include "thin/format/errors.h"
#include "thin/tool/mapping_runs.h"
#include "thin/tool/root_finder.h"

namespace karst::thin {
namespace {

class Salvage {
 public:
  Salvage(block::Device& device, cache::Cache& cache, WorkerPool& pool, const DumpOptions& options,
          PoolSink& sink, TellLoss tell)
      : device_(device),
        cache_(cache),
        pool_(pool),
        options_(options),
        sink_(sink),
        tell_(tell),
        store_(device, cache, std::min(device.size() / metadata_block_size, metadata_blocks_max)) {}

  Result<SalvageReport> run();

 private:
  Result<void> read_known();
  Result<void> search();
  Result<void> read_found(const FoundRoots& roots);
  Result<void> tell_device(const MetadataReader::Device& device);
  void lose(const std::string& text) {
    ++report_.losses;
    tell_(text);
  }

  block::Device& device_;
  cache::Cache& cache_;
  WorkerPool& pool_;
  const DumpOptions& options_;
  PoolSink& sink_;
  TellLoss tell_;
  BlockStore store_;
  bool has_super_ = false;
  PoolFacts facts_;
  std::vector<MetadataReader::Device> devices_;
  SalvageReport report_;
};

// By way of the superblock.
Result<void> Salvage::read_known() {
  const auto metadata = TRY(MetadataReader::open(device_, cache_, {}));
  facts_ = metadata->facts();
  has_super_ = true;
  devices_ = TRY(metadata->devices());
  return {};
}

Result<void> Salvage::search() {
  report_.roots_searched = true;
  const auto found = TRY(RootFinder(device_, store_.nr_blocks(), pool_).find());
  if (!found) return Error(err::corrupt, "no roots of devices are left").at("device", device_.name());
  if (has_super_) {
    facts_.time = std::max(facts_.time, found->time);
    return read_found(*found);
  }
  const PoolOverrides& given = options_.overrides;
  if (!given.data_block_size)
    return Error(err::invalid,
                 "the superblock is lost, and with it the size of data blocks: it has to be given");
  facts_ = {.time = found->time,
            .transaction = found->transaction_id,
            .version = superblock_version,
            .nr_data_blocks = found->nr_data_blocks};
  if (!given.nr_data_blocks)
    lose(fmt::format("the number of data blocks; those that are mapped are {}", found->nr_data_blocks));
  if (!given.transaction_id)
    lose(fmt::format("the transaction id; it was {} or more", found->transaction_id));
  return read_found(*found);
}

Result<void> Salvage::read_found(const FoundRoots& roots) {
  devices_.clear();
  TRY(TreeWalk(store_, sizeof(le64))
          .walk(roots.mapping_root, {}, [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
            for (uint32_t i = begin; i < end; ++i)
              devices_.push_back({{.id = static_cast<DeviceId>(leaf.key(i))}, leaf.child(i)});
            return true;
          }));
  if (!roots.details_root) {
    lose("the details of all devices");
    for (MetadataReader::Device& device : devices_) device.facts.snap_time = facts_.time;
    return {};
  }
  return TreeWalk(store_, sizeof(DeviceDetails))
      .walk(*roots.details_root, {}, [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
        for (uint32_t i = begin; i < end; ++i) {
          const auto& details = leaf.value_as<DeviceDetails>(i);
          const auto device = std::ranges::lower_bound(
              devices_, leaf.key(i), {}, [](const auto& known) { return uint64_t{known.facts.id}; });
          if (device == devices_.end() || device->facts.id != leaf.key(i)) continue;
          device->facts = {device->facts.id, details.mapped_blocks, details.transaction_id,
                           details.creation_time, details.snapshotted_time};
        }
        return true;
      });
}

Result<void> Salvage::tell_device(const MetadataReader::Device& device) {
  TRY(sink_.begin_device(device.facts));
  ++report_.devices;
  const auto lost = [&](KeyRange range, const Error& error) -> Result<void> {
    if (error.is(err::no_memory)) return error.clone();
    lose(fmt::format("device {}: blocks {} to {}: {}", device.facts.id, range.first, range.last,
                     error.message()));
    return {};
  };
  const auto tell = [&](const MappingRun& run) {
    report_.mappings += run.length;
    return sink_.map(run);
  };
  MappingRuns runs(tell);
  const auto add = [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
    for (uint32_t i = begin; i < end; ++i) {
      const Mapping mapping = Mapping::unpack(leaf.value_as<le64>(i));
      if (raw(mapping.block) < facts_.nr_data_blocks)
        TRY(runs.add(VirtualBlock{leaf.key(i)}, mapping));
      else
        lose(fmt::format("device {}: block {}: data block {} is outside of the data device", device.facts.id,
                         leaf.key(i), mapping.block));
    }
    return true;
  };
  if (!options_.skip_mappings) TRY(TreeWalk(store_, sizeof(le64)).walk(device.root, {}, add, lost));
  TRY(runs.finish());
  return sink_.end_device();
}

Result<SalvageReport> Salvage::run() {
  if (auto known = read_known(); !known) {
    const Error& error = known.error();
    if (!error.is(err::corrupt) && !error.is(err::io)) return std::move(known).error();
    tell_(error.message());
    TRY(search());
  }
  options_.overrides.apply(facts_);
  facts_.metadata_snap.reset();
  TRY(sink_.begin_pool(facts_));
  for (const MetadataReader::Device& device : devices_)
    if (options_.devices.empty() || std::ranges::count(options_.devices, device.facts.id) != 0)
      TRY(tell_device(device));
  TRY(sink_.end_pool());
  return report_;
}

}  // namespace

Result<SalvageReport> salvage(block::Device& device, cache::Cache& cache, WorkerPool& pool,
                              const DumpOptions& options, PoolSink& sink, TellLoss tell) {
  return Salvage(device, cache, pool, options, sink, tell).run();
}

}  // namespace karst::thin

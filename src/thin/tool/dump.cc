#include "thin/tool/dump.h"

#include <algorithm>

#include "thin/tool/mapping_runs.h"

namespace karst::thin {

void PoolOverrides::apply(PoolFacts& facts) const {
  facts.transaction = transaction_id.value_or(facts.transaction);
  facts.data_block_size = data_block_size.value_or(facts.data_block_size);
  facts.nr_data_blocks = nr_data_blocks.value_or(facts.nr_data_blocks);
}

Result<void> dump(MetadataReader& metadata, const DumpOptions& options, PoolSink& sink) {
  const auto devices = TRY(metadata.devices());
  PoolFacts facts = metadata.facts();
  options.overrides.apply(facts);
  TRY(sink.begin_pool(facts));
  for (const MetadataReader::Device& device : devices) {
    if (!options.devices.empty() && std::ranges::count(options.devices, device.facts.id) == 0) continue;
    TRY(sink.begin_device(device.facts));
    if (!options.skip_mappings) {
      const auto tell = [&](const MappingRun& run) { return sink.map(run); };
      MappingRuns runs(tell);
      TRY(metadata.walk_mappings(device, [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
        TRY(runs.add(leaf, begin, end));
        return true;
      }));
      TRY(runs.finish());
    }
    TRY(sink.end_device());
  }
  return sink.end_pool();
}

}  // namespace karst::thin

#include "thin/tool/reverse_map.h"

#include <algorithm>
#include <tuple>

#include "thin/tool/mapping_runs.h"

namespace karst::thin {

Result<std::vector<ReverseRun>> reverse_map(MetadataReader& metadata, const std::vector<DataRange>& ranges) {
  const auto is_wanted = [&](DataBlock block) {
    return std::ranges::any_of(
        ranges, [&](const DataRange& range) { return raw(block) >= range.begin && raw(block) < range.end; });
  };
  std::vector<ReverseRun> found;
  for (const MetadataReader::Device& device : TRY(metadata.devices())) {
    const auto tell = [&](const MappingRun& run) -> Result<void> {
      found.push_back({run.data, run.length, device.facts.id, run.begin});
      return {};
    };
    MappingRuns runs(tell, MappingRuns::Times::ignored);
    TRY(metadata.walk_mappings(device, [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
      for (uint32_t i = begin; i < end; ++i) {
        const Mapping mapping = Mapping::unpack(leaf.value_as<le64>(i));
        if (is_wanted(mapping.block)) TRY(runs.add(VirtualBlock{leaf.key(i)}, mapping));
      }
      return true;
    }));
    TRY(runs.finish());
  }
  std::ranges::sort(found, {}, [](const ReverseRun& run) {
    return std::tuple(raw(run.data), run.length, run.device, raw(run.begin));
  });
  return found;
}

}  // namespace karst::thin

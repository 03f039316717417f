#include "thin/tool/usage.h"

#include "thin/format/errors.h"
#include "thin/tool/tree_scan.h"

namespace karst::thin {
namespace {

// A node with two users, or below one, has nothing that is of one device alone. So only nodes that one device
// has to itself are gone through, once each.
Result<uint64_t> shared_below(MetadataReader& metadata, TreeScan& scan, MetadataBlock number) {
  if (scan.metadata_uses().count(raw(number)) > 1) return scan.summary(number).entries;
  const BlockRef block = TRY(metadata.store().read_node(number, sizeof(le64)));
  const NodeView node = block.node();
  uint64_t shared = 0;
  for (uint32_t i = 0; i < node.size(); ++i) {
    if (!node.is_leaf())
      shared += TRY(shared_below(metadata, scan, node.child(i)));
    else
      shared += scan.data_uses().count(raw(Mapping::unpack(node.value_as<le64>(i)).block)) > 1;
  }
  return shared;
}

}  // namespace

Result<std::vector<DeviceUsage>> device_usage(MetadataReader& metadata, WorkerPool& pool, uint64_t memory) {
  const uint64_t blocks = metadata.store().nr_blocks(), data_blocks = metadata.facts().nr_data_blocks;
  if (const uint64_t needed = TreeScan::memory_needed(blocks, data_blocks); needed > memory)
    return Error::make(err::limit, "counting {} metadata and {} data blocks needs {} bytes of memory, of {}",
                       blocks, data_blocks, needed, memory);
  std::string problem;
  const auto keep_first = [&](const Finding& finding) {
    if (problem.empty() && finding.kind.severity == Severity::fatal) problem = finding.text;
  };
  Findings findings(keep_first, 1);
  const auto scan = TRY(TreeScan::create(metadata.store().device(), blocks, data_blocks, pool, findings));
  const auto devices = TRY(metadata.devices());
  std::vector<MetadataBlock> roots;
  for (const MetadataReader::Device& device : devices) roots.push_back(device.root);
  TRY(scan->scan_mappings(roots));
  std::vector<DeviceUsage> usage;
  for (const MetadataReader::Device& device : devices) {
    const NodeSummary sum = TRY(scan->summarize(device.root, BlockRole::mapping_node, sizeof(le64)));
    if (!problem.empty())
      return Error::make(err::corrupt, "the metadata is damaged, have it checked: {}", problem);
    usage.push_back({device.facts, sum.entries, TRY(shared_below(metadata, *scan, device.root))});
  }
  return usage;
}

}  // namespace karst::thin

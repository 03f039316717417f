// Tells a sink what a pool's metadata says.
#pragma once
#include <optional>
#include <vector>

#include "thin/tool/metadata_reader.h"
#include "thin/tool/pool_sink.h"

namespace karst::thin {

// Said instead of what the metadata says.
struct PoolOverrides {
  std::optional<uint64_t> transaction_id;
  std::optional<uint32_t> data_block_size;
  std::optional<uint64_t> nr_data_blocks;

  void apply(PoolFacts& facts) const;
};

struct DumpOptions {
  std::vector<DeviceId> devices;  // only these; all if it is empty. Ones that are not there are left out.
  bool skip_mappings = false;
  PoolOverrides overrides;
};

// Errors: of reading, and the sink's.
Result<void> dump(MetadataReader& metadata, const DumpOptions& options, PoolSink& sink);

}  // namespace karst::thin

// Which devices have mapped given data blocks, and where.
#pragma once
#include <vector>

#include "thin/tool/metadata_reader.h"

namespace karst::thin {

struct DataRange {
  uint64_t begin = 0, end = 0;  // blocks; the end is not in it
};

struct ReverseRun {
  DataBlock data{};
  uint64_t length = 0;
  DeviceId device = 0;
  VirtualBlock begin{};
};

// In the order of data blocks. Memory: the answer's.
Result<std::vector<ReverseRun>> reverse_map(MetadataReader& metadata, const std::vector<DataRange>& ranges);

}  // namespace karst::thin

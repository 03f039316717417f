#include "thin/tool/trim.h"

#include <algorithm>

namespace karst::thin {

Result<TrimReport> trim_data(const TreeScan& scan, uint32_t data_block_sectors, block::Device& data) {
  const UseCounts& uses = scan.data_uses();
  const uint64_t block_size = uint64_t{data_block_sectors} * sector_size;
  if (data.size() / block_size < uses.blocks())
    return Error(err::invalid, "the data device is smaller than the pool's")
        .at("device", data.name())
        .expected(fmt::format("{} blocks of {} bytes", uses.blocks(), block_size), data.size() / block_size);
  TrimReport report;
  for (uint64_t begin = 0; begin < uses.blocks();) {
    uint64_t end = begin;
    while (end < uses.blocks() && uses.count(end) == 0) ++end;
    if (end > begin) {
      TRY(data.discard(begin * block_size, (end - begin) * block_size));
      ++report.ranges;
      report.blocks += end - begin;
    }
    begin = end + 1;
  }
  return report;
}

}  // namespace karst::thin

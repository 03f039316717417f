#include "btrfs/extent/metadata_space.h"

namespace karst::btrfs {
namespace {

BlockRecord record_of(const TreeBlock& block) {
  return {block.bytenr(), block.owner(), block.level(), block.key(0)};
}

}  // namespace

Result<void> MetadataSpace::write(const TreeBlock& block) {
  records_.push_back(record_of(block));
  return blocks_.append(block.bytes());
}

Result<void> PredictingSink::write(const TreeBlock& block) {
  records_.push_back(record_of(block));
  return {};
}

uint64_t MetadataSpace::address_of(uint64_t n) {
  const uint64_t blocks_per_unit = unit_size / nodesize_;
  const uint64_t unit = n / blocks_per_unit;
  // As much again is left for what rounds the last chunk up.
  while (units_.size() <= unit) units_.push_back(logical_.take(2 * unit_size));
  return units_[unit] + n % blocks_per_unit * nodesize_;
}

std::vector<DataSpace::Run> MetadataSpace::ranges(uint64_t blocks, uint64_t spare) {
  std::vector<DataSpace::Run> out;
  uint64_t bytes = blocks * nodesize_ + spare;
  do {
    uint64_t start = address_of(out.size() * (unit_size / nodesize_));
    uint64_t length = std::min(bytes, unit_size);
    bytes -= length;
    out.push_back({start, length});
  } while (bytes > 0);
  return out;
}

Result<void> MetadataSpace::for_each(FunctionRef<Result<void>(uint64_t address, Bytes blocks)> each) {
  uint64_t n = 0;
  const uint64_t blocks_per_unit = unit_size / nodesize_;
  return blocks_.for_each([&](Bytes piece) -> Result<void> {
    while (!piece.empty()) {
      uint64_t count = std::min<uint64_t>(piece.size() / nodesize_, blocks_per_unit - n % blocks_per_unit);
      TRY(each(address_of(n), piece.first(count * nodesize_)));
      piece = piece.subspan(count * nodesize_);
      n += count;
    }
    return {};
  });
}

}  // namespace karst::btrfs

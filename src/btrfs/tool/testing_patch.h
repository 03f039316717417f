// Changing an image for tests: superblocks and tree blocks in place, their checksums made right again.
#pragma once
#include <memory>
#include <vector>

#include "block/device.h"
#include "btrfs/format/superblock.h"
#include "btrfs/volume/volume.h"
#include "core/function_ref.h"

namespace karst::btrfs::testing {

// Stores the checksum of a superblock or tree block: both begin with it.
inline void seal(MutableBytes block, ChecksumType type) {
  const Checksum sum = compute_checksum(type, Bytes(block).subspan(checksum_field_size));
  std::copy(sum.bytes.begin(), sum.bytes.end(), block.begin());
}

inline MutableBytes mutable_bytes(Superblock& super) {
  return {reinterpret_cast<std::byte*>(&super), sizeof super};
}

// Changes each copy of the superblock on the device.
inline void for_each_superblock(block::Device& device, FunctionRef<void(Superblock&)> change) {
  for (int mirror = 0; mirror < superblock_mirrors; ++mirror) {
    const uint64_t offset = superblock_mirror_offset(mirror);
    if (offset > device.size() || device.size() - offset < superblock_size) continue;
    Superblock super;
    if (!device.read(offset, mutable_bytes(super)) || super.magic != superblock_magic) continue;
    const auto type = checksum_type_of(super.csum_type);
    change(super);
    if (type) seal(mutable_bytes(super), *type);
    (void)device.write(offset, mutable_bytes(super));
  }
}

// Passes everything on to a device that lives elsewhere.
class Borrowed final : public block::Device {
 public:
  explicit Borrowed(block::Device& device) : device_(device) {}
  const std::string& name() const override { return device_.name(); }
  uint64_t size() const override { return device_.size(); }
  uint32_t block_size() const override { return device_.block_size(); }
  bool writable() const override { return device_.writable(); }

 protected:
  Result<void> perform(const block::IoRequest& request) override { return device_.run(request.again()); }

 private:
  block::Device& device_;
};

// Where bytes are on the devices.
struct Place {
  uint64_t devid;
  uint64_t offset;
};

// The places of all copies of a range inside one stripe: of each mirror; for parity profiles of the data
// itself.
inline std::vector<Place> places_of(const ChunkMap& chunks, uint64_t logical) {
  std::vector<Place> places;
  auto found = chunks.find(logical);
  if (!found) return places;
  const ChunkEntry& chunk = **found;
  const int mirrors = chunk.is_parity() ? 1 : chunk.copies();
  for (int copy = 0; copy < mirrors; ++copy) {
    StripeRun run = map_run(chunk, logical, 1, copy);
    places.push_back({chunk.stripes[run.stripe].devid, run.offset});
  }
  return places;
}

}  // namespace karst::btrfs::testing

// Tree blocks: check and print arbitrary ones, with the checksum made right. The first byte of the input
// chooses sizes and checksum, two more the features, the rest is the block.
#include <nlohmann/json.hpp>

#include "btrfs/format/check.h"
#include "btrfs/format/print.h"

using namespace karst;
using namespace karst::btrfs;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  Geometry geometry;
  geometry.nodesize = 4096u << (data[0] % 3);
  geometry.sectorsize = 4096;
  constexpr ChecksumType types[] = {ChecksumType::crc32c, ChecksumType::xxhash64, ChecksumType::sha256,
                                    ChecksumType::blake2b_256};
  geometry.checksum_type = types[data[0] / 3 % 4];
  geometry.checksum_size = static_cast<uint32_t>(checksum_size(geometry.checksum_type));
  geometry.generation = 1 << 20;
  geometry.total_bytes = uint64_t{1} << 40;
  geometry.incompat = uint64_t{data[1]} << 8 | data[2];
  std::vector<std::byte> block(geometry.nodesize);
  std::memcpy(block.data(), data + 3, std::min(size - 3, block.size()));
  auto& header = *reinterpret_cast<Header*>(block.data());
  header.fsid = geometry.metadata_uuid;
  header.flags |= header_flag_written;
  Checksum checksum = compute_checksum(geometry.checksum_type, Bytes(block).subspan(checksum_field_size));
  std::memcpy(block.data(), checksum.bytes.data(), checksum.bytes.size());

  auto checked = verify_block(block, geometry, {Logical(header.bytenr.value())});
  if (!checked) (void)checked.error().message();
  PrintOptions options{.csum_headers = true, .csum_items = true};
  print_block(TreeBlock(block), geometry, options, [](std::string_view) {});
  (void)block_to_json(TreeBlock(block), geometry, options).dump();
  return 0;
}

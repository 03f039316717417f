// Superblock and system chunk array: check and print whatever 4096 bytes there are, with magic and checksum
// made right so that what lies behind them is reached.
#include <nlohmann/json.hpp>

#include "btrfs/format/print.h"
#include "btrfs/format/superblock.h"
#include "core/assert.h"

using namespace karst;
using namespace karst::btrfs;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Superblock super{};
  std::memcpy(&super, data, std::min(size, sizeof super));
  super.magic = superblock_magic;
  super.csum_type = static_cast<uint16_t>(super.csum_type % 5);
  if (auto type = checksum_type_of(super.csum_type)) {
    Checksum checksum = compute_checksum(*type, bytes_of(super).subspan(checksum_field_size));
    std::memcpy(super.checksum, checksum.bytes.data(), checksum.bytes.size());
  }
  auto checked = check_superblock(super, super.bytenr);
  if (checked)
    VERIFY(system_chunks(super).has_value());
  else
    (void)checked.error().message();
  print_superblock(super, true, [](std::string_view) {});
  (void)superblock_to_json(super, true).dump();
  return 0;
}

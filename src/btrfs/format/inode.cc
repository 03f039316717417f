#include "btrfs/format/inode.h"

#include "core/checksum.h"

namespace karst::btrfs {

uint64_t name_hash(std::string_view name) { return crc32c(~1u, as_bytes(name)); }

// Linux takes the parent's low 32 bits as the seed.
uint64_t extref_hash(uint64_t parent, std::string_view name) {
  return crc32c(static_cast<uint32_t>(parent), as_bytes(name));
}

}  // namespace karst::btrfs

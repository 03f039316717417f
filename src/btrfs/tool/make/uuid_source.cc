#include "btrfs/tool/make/uuid_source.h"

#include <sys/random.h>

#include "core/assert.h"
#include "core/checksum.h"

namespace karst::btrfs {

Uuid UuidSource::next() {
  Uuid uuid;
  if (seed_) {
    std::string text = fmt::format("{}\n{}", *seed_, count_++);
    Checksum digest = compute_checksum(ChecksumType::sha256, as_bytes(text));
    std::memcpy(uuid.bytes.data(), digest.bytes.data(), uuid.bytes.size());
  } else {
    // So few bytes come whole, and cannot fail once the system has booted (getrandom(2)).
    VERIFY(getrandom(uuid.bytes.data(), uuid.bytes.size(), 0) == ssize_t(uuid.bytes.size()));
  }
  uuid.bytes[6] = static_cast<uint8_t>((uuid.bytes[6] & 0x0f) | 0x40);
  uuid.bytes[8] = static_cast<uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
  return uuid;
}

}  // namespace karst::btrfs

#include "btrfs/tool/make/uuid_source.h"

#include "core/checksum.h"

namespace karst::btrfs {

Uuid UuidSource::next() {
  if (!seed_) return Uuid::random();
  const std::string text = fmt::format("{}\n{}", *seed_, count_++);
  const Checksum digest = compute_checksum(ChecksumType::sha256, as_bytes(text));
  return Uuid::version_4(std::span(digest.bytes).first<16>());
}

}  // namespace karst::btrfs

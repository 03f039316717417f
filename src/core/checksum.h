// The checksums that btrfs and thin pools put on their blocks, computed by libraries: isa-l (CRC-32C),
// xxhash, OpenSSL (SHA-256) and libb2 (BLAKE2b).
//
// Measured on a machine with AVX-512: isa-l's CRC-32C ran 1.7 times as fast on 4 KiB blocks as three
// interleaved streams of the SSE4.2 instruction, 2.1 times on 64 KiB, and 0.6 times on 32 bytes, where both
// take a few nanoseconds.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/bytes.h"

namespace karst {

// Numbers on disk are converted to this by the format that stores them.
enum class ChecksumType : uint8_t { crc32c, xxhash64, sha256, blake2b_256 };

// Bytes that a checksum of this type has: 4, 8, 32, 32.
constexpr size_t checksum_size(ChecksumType type) {
  switch (type) {
    case ChecksumType::crc32c: return 4;
    case ChecksumType::xxhash64: return 8;
    case ChecksumType::sha256: return 32;
    case ChecksumType::blake2b_256: return 32;
  }
  return 0;
}

// "crc32c", "xxhash64", "sha256", "blake2b": the names that mkfs.btrfs takes.
std::string_view checksum_name(ChecksumType type);

// A checksum as btrfs stores it: integers little-endian, digests in their usual order, then zeroes up to 32
// bytes. Checksums of the same type are compared whole; the type is known from elsewhere.
struct Checksum {
  std::array<std::byte, 32> bytes;

  bool operator==(const Checksum&) const = default;
  // "0x" and the stored bytes in order, as many as the type has; what btrfs-progs prints.
  std::string text(ChecksumType type) const;
};
static_assert(sizeof(Checksum) == 32 && alignof(Checksum) == 1);

// Throws std::bad_alloc if OpenSSL has no memory for a thread's first SHA-256; otherwise cannot fail.
Checksum compute_checksum(ChecksumType type, Bytes data);

// The checksum of each block of data, one after the other into out, checksum_size(type) bytes each, as in a
// btrfs checksum item. data is a whole number of blocks and out has room for all of them (verified).
void compute_checksums(ChecksumType type, Bytes data, size_t block_size, std::span<std::byte> out);

// The kernel's crc32c(): the register goes in as seed and comes out as it is, with no inversion before or
// after, so that crc32c(crc32c(s, a), b) is the value over a and b. The CRC-32C of the RFCs (and of
// ChecksumType::crc32c) is ~crc32c(~0, data); a btrfs name hash is crc32c(~1, name).
uint32_t crc32c(uint32_t seed, Bytes data);

}  // namespace karst

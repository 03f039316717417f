#include "core/checksum.h"

#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "core/endian.h"

namespace karst {
namespace {

constexpr ChecksumType all_types[] = {ChecksumType::crc32c, ChecksumType::xxhash64, ChecksumType::sha256,
                                      ChecksumType::blake2b_256};

std::string checksum_text(ChecksumType type, std::string_view data) {
  return compute_checksum(type, as_bytes(data)).text(type);
}

// CRC-32C one bit at a time, from the polynomial.
uint32_t crc32c_by_bits(uint32_t crc, Bytes data) {
  for (std::byte byte : data) {
    crc ^= std::to_integer<uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
  }
  return crc;
}

std::vector<std::byte> random_bytes(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::byte>(random());
  return bytes;
}

// "123456789" is the check value of the CRC catalogues, stored low byte first; 32 zeroes are RFC 3720 B.4.
TEST(Checksum, Crc32cGivesThePublishedValues) {
  EXPECT_EQ(checksum_text(ChecksumType::crc32c, "123456789"), "0x839206e3");
  EXPECT_EQ(checksum_text(ChecksumType::crc32c, std::string(32, '\0')), "0xaa36918a");
  EXPECT_EQ(checksum_text(ChecksumType::crc32c, std::string(32, '\xff')), "0x43aba862");
  EXPECT_EQ(checksum_text(ChecksumType::crc32c, ""), "0x00000000");
}

// XXH64 with seed 0: the reference's values for no bytes and "abc", stored low byte first.
TEST(Checksum, Xxhash64GivesThePublishedValues) {
  EXPECT_EQ(checksum_text(ChecksumType::xxhash64, ""), "0x99e9d85137db46ef");
  EXPECT_EQ(checksum_text(ChecksumType::xxhash64, "abc"), "0x990977adf52cbc44");
}

// FIPS 180-2, B.1.
TEST(Checksum, Sha256GivesThePublishedValues) {
  EXPECT_EQ(checksum_text(ChecksumType::sha256, ""),
            "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(checksum_text(ChecksumType::sha256, "abc"),
            "0xba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// BLAKE2b with a 32-byte digest and no key, which is not the first half of the 64-byte one.
TEST(Checksum, Blake2bGivesThePublishedValues) {
  EXPECT_EQ(checksum_text(ChecksumType::blake2b_256, ""),
            "0x0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
  EXPECT_EQ(checksum_text(ChecksumType::blake2b_256, "abc"),
            "0xbddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
}

TEST(Checksum, RawCrc32cAgreesWithTheBitwiseReferenceForEverySizeAndAlignment) {
  auto bytes = random_bytes(70000, 1);
  for (size_t start : {0, 1, 3, 7, 8})
    for (size_t size : {0,   1,   2,   7,   8,   9,    15,   16,   31,   63,   64,    65,
                        100, 255, 256, 257, 511, 1023, 1024, 3999, 4096, 4097, 16384, 65536})
      for (uint32_t seed : {0u, ~0u, ~1u, 0x12345678u}) {
        Bytes part = Bytes(bytes).subspan(start, size);
        ASSERT_EQ(crc32c(seed, part), crc32c_by_bits(seed, part)) << start << " " << size << " " << seed;
      }
}

TEST(Checksum, RawCrc32cContinuesFromItsOwnResult) {
  auto bytes = random_bytes(1000, 2);
  Bytes all(bytes);
  EXPECT_EQ(crc32c(crc32c(~0u, all.first(333)), all.subspan(333)), crc32c(~0u, all));
}

TEST(Checksum, UnusedBytesAreZeroAndOneBitChangesTheValue) {
  for (ChecksumType type : all_types) {
    auto bytes = random_bytes(4096, 3);
    Checksum before = compute_checksum(type, bytes);
    for (size_t i = checksum_size(type); i < 32; ++i) EXPECT_EQ(before.bytes[i], std::byte{0});
    EXPECT_EQ(before.text(type).size(), 2 + 2 * checksum_size(type));
    bytes[4095] ^= std::byte{1};
    EXPECT_NE(compute_checksum(type, bytes), before) << checksum_name(type);
  }
}

TEST(Checksum, ManyBlocksAtOnceEqualOneByOne) {
  for (ChecksumType type : all_types) {
    auto bytes = random_bytes(5 * 512, 4);
    size_t size = checksum_size(type);
    std::vector<std::byte> out(5 * size + 1, std::byte{0xee});
    compute_checksums(type, bytes, 512, out);
    for (size_t i = 0; i < 5; ++i) {
      Checksum one = compute_checksum(type, Bytes(bytes).subspan(i * 512, 512));
      EXPECT_EQ(std::memcmp(out.data() + i * size, one.bytes.data(), size), 0) << checksum_name(type);
    }
    EXPECT_EQ(out.back(), std::byte{0xee});
  }
}

TEST(ChecksumDeath, RefusesAnOutputThatIsTooSmall) {
  std::array<std::byte, 1024> data{};
  std::array<std::byte, 7> out{};
  EXPECT_DEATH(compute_checksums(ChecksumType::crc32c, data, 512, out), "assertion failed");
  EXPECT_DEATH(compute_checksums(ChecksumType::crc32c, data, 500, out), "assertion failed");
}

TEST(Checksum, ThreadsDoNotShareHashingState) {
  auto bytes = random_bytes(16384, 5);
  Checksum expected = compute_checksum(ChecksumType::sha256, bytes);
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int round = 0; round < 50; ++round)
        wrong += compute_checksum(ChecksumType::sha256, bytes) != expected;
    });
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace karst

#include "core/checksum.h"

#include <blake2.h>
#include <isa-l/crc.h>
#include <openssl/evp.h>
#include <xxhash.h>

#include <memory>
#include <new>

#include "core/assert.h"
#include "core/endian.h"

namespace karst {
namespace {

// The algorithm is fetched once for the process and the context once for each thread: fetching by name takes
// a lock and a search, which costs more than hashing a sector.
class Sha256 {
 public:
  Sha256() : algorithm_(EVP_MD_fetch(nullptr, "SHA256", nullptr)) {
    if (!algorithm_) throw std::bad_alloc();  // built into libcrypto: only memory can be missing
  }
  ~Sha256() { EVP_MD_free(algorithm_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void digest(Bytes data, std::byte* out) const {
    thread_local const Context context(EVP_MD_CTX_new());
    unsigned size = 0;
    bool ok = context && EVP_DigestInit_ex2(context.get(), algorithm_, nullptr) == 1 &&
              EVP_DigestUpdate(context.get(), data.data(), data.size()) == 1 &&
              EVP_DigestFinal_ex(context.get(), reinterpret_cast<unsigned char*>(out), &size) == 1;
    if (!ok) throw std::bad_alloc();
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  using Context = std::unique_ptr<EVP_MD_CTX, Free>;
  EVP_MD* algorithm_;
};

const Sha256& sha256() {
  static const Sha256 instance;
  return instance;
}

// Writes checksum_size(type) bytes to out.
void write_checksum(ChecksumType type, Bytes data, std::byte* out) {
  switch (type) {
    case ChecksumType::crc32c: {
      le32 value = ~crc32c(~0u, data);
      std::memcpy(out, &value, sizeof value);
      return;
    }
    case ChecksumType::xxhash64: {
      le64 value = XXH64(data.data(), data.size(), 0);
      std::memcpy(out, &value, sizeof value);
      return;
    }
    case ChecksumType::sha256: sha256().digest(data, out); return;
    case ChecksumType::blake2b_256:
      VERIFY(blake2b(reinterpret_cast<uint8_t*>(out), data.data(), nullptr, 32, data.size(), 0) == 0);
      return;
  }
}

}  // namespace

uint32_t crc32c(uint32_t seed, Bytes data) {
  constexpr size_t most = size_t{1} << 30;  // isa-l takes the length as an int
  while (!data.empty()) {
    Bytes part = data.first(std::min(data.size(), most));
    auto* bytes = reinterpret_cast<unsigned char*>(const_cast<std::byte*>(part.data()));  // it only reads
    seed = crc32_iscsi(bytes, static_cast<int>(part.size()), seed);
    data = data.subspan(part.size());
  }
  return seed;
}

std::string_view checksum_name(ChecksumType type) {
  switch (type) {
    case ChecksumType::crc32c: return "crc32c";
    case ChecksumType::xxhash64: return "xxhash64";
    case ChecksumType::sha256: return "sha256";
    case ChecksumType::blake2b_256: return "blake2b";
  }
  return "unknown";
}

std::string Checksum::text(ChecksumType type) const {
  constexpr char digits[] = "0123456789abcdef";
  std::string text = "0x";
  for (size_t i = 0; i < checksum_size(type); ++i) {
    auto value = std::to_integer<unsigned>(bytes[i]);
    text += digits[value >> 4];
    text += digits[value & 15];
  }
  return text;
}

Checksum compute_checksum(ChecksumType type, Bytes data) {
  Checksum checksum{};
  write_checksum(type, data, checksum.bytes.data());
  return checksum;
}

void compute_checksums(ChecksumType type, Bytes data, size_t block_size, std::span<std::byte> out) {
  VERIFY(block_size > 0 && data.size() % block_size == 0);
  size_t size = checksum_size(type);
  size_t count = data.size() / block_size;
  VERIFY(count <= out.size() / size);
  for (size_t i = 0; i < count; ++i)
    write_checksum(type, data.subspan(i * block_size, block_size), out.data() + i * size);
}

}  // namespace karst

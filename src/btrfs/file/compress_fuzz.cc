// Input: the codec (and whether the extent is inline), le32 output size, then the extent. Seeds:
// tests/data/compressed with such a head.
#include <cstdlib>

#include "btrfs/file/compress.h"
#include "core/endian.h"

using namespace karst;
using namespace karst::btrfs;

namespace {

struct Head {
  uint8_t codec;
  le32 output_size;
};

std::vector<std::byte> decode(Decompressor& decompressor, const Head& head, Bytes input, std::byte old) {
  std::vector<std::byte> out(head.output_size % 150'000, old);
  auto type = static_cast<Compression>(1 + head.codec % 3);
  uint32_t sectorsize = 4096 << (head.codec / 6 % 5);
  if (head.codec / 3 % 2) {
    auto done = decompressor.decompress_inline(type, input, out, sectorsize);
    if (!done && !done.error().is(btrfs::err::compressed_data)) std::abort();
  } else {
    auto size = decompressor.decompress(type, input, out, sectorsize);
    if (!size && !size.error().is(btrfs::err::compressed_data)) std::abort();
    if (size && *size > out.size()) std::abort();
  }
  if (decompressor.holds_addresses()) std::abort();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Decompressor decompressor;
  Bytes bytes(reinterpret_cast<const std::byte*>(data), size);
  auto* head = overlay<Head>(bytes);
  if (!head) return 0;
  Bytes input = bytes.subspan(sizeof(Head));
  // Uninitialised output would differ.
  if (decode(decompressor, *head, input, std::byte{0x55}) !=
      decode(decompressor, *head, input, std::byte{0xaa}))
    std::abort();
  return 0;
}

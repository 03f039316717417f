#include "cache/pieces.h"

#include <gtest/gtest.h>

#include <random>

#include "cache/cache.h"
#include "cache/test_helpers.h"

namespace karst::cache {
namespace {

using testing::get_painted;

// MP-016, MD: random pieces of random folios against the same bytes in one flat buffer.
TEST(Pieces, CopyLikeAFlatBufferWhateverTheSizes) {
  std::mt19937 random(4711);
  Cache cache;
  const ObjectId object = cache.new_object();
  for (int round = 0; round < 50; ++round) {
    const auto make = [&](uint64_t base) {
      std::vector<FolioPiece> pieces;
      const uint32_t sizes[] = {512, 4096, 5120, 20480, 131072};
      for (uint64_t i = 0; i < 6; ++i) {
        const uint32_t size = sizes[random() % 5];
        const auto residence = random() % 2 == 0 ? Residence::always_mapped : Residence::on_demand;
        cache.invalidate(object, base + i, base + i + 1);
        const uint32_t offset = static_cast<uint32_t>(random() % size);
        pieces.push_back({get_painted(cache, object, base + i, size, residence), offset,
                          static_cast<uint32_t>(random() % (size - offset + 1))});
      }
      return pieces;
    };
    const auto flat = [](const std::vector<FolioPiece>& pieces) {
      std::vector<std::byte> bytes;
      for (const FolioPiece& piece : pieces) {
        const Mapping mapping(piece.folio);
        const Bytes part = mapping.bytes().subspan(piece.offset, piece.length);
        bytes.insert(bytes.end(), part.begin(), part.end());
      }
      return bytes;
    };
    const auto source = make(0);
    const auto destination = make(100);
    const auto expected = flat(source);

    std::vector<std::byte> buffer(expected.size() + 1000, std::byte{0xaa});
    std::vector<iovec> buffers;
    for (size_t at = 0; at < buffer.size();) {
      const size_t part = std::min<size_t>(random() % 9000, buffer.size() - at);
      buffers.push_back({buffer.data() + at, part});
      at += part;
    }
    ASSERT_EQ(copy_to_buffers(source, buffers), expected.size());
    ASSERT_TRUE(std::equal(expected.begin(), expected.end(), buffer.begin()));
    ASSERT_EQ(buffer[expected.size()], std::byte{0xaa});

    const uint64_t copied = copy_between(source, destination);
    const auto result = flat(destination);
    ASSERT_EQ(copied, std::min(expected.size(), result.size()));
    ASSERT_TRUE(
        std::equal(result.begin(), result.begin() + static_cast<ptrdiff_t>(copied), expected.begin()));

    std::ranges::fill(buffer, std::byte{0x55});
    const uint64_t stored = copy_from_buffers(buffers, destination);
    ASSERT_EQ(stored, std::min(buffer.size(), result.size()));
    auto stored_bytes = result;
    std::fill_n(stored_bytes.begin(), stored, std::byte{0x55});
    ASSERT_TRUE(flat(destination) == stored_bytes);
  }
}

TEST(Pieces, OneFolioAndOneBuffer) {
  Cache cache;
  const FolioRef folio = get_painted(cache, cache.new_object(), 1, 4096, Residence::on_demand);
  std::vector<std::byte> bytes(100);
  copy_in(std::vector<std::byte>(100, std::byte{0x33}), folio, 3000);
  copy_out(folio, 3000, bytes);
  EXPECT_EQ(bytes, std::vector<std::byte>(100, std::byte{0x33}));
  EXPECT_EQ(Mapping(folio).bytes()[2999], testing::byte_for(1, 2999));
}

}  // namespace
}  // namespace karst::cache

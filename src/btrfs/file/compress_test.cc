#include "btrfs/file/compress.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <zlib.h>
#include <zstd.h>

#include <fstream>
#include <random>

#include "core/endian.h"

namespace karst::btrfs {
namespace {

constexpr uint32_t sector = 4096;
constexpr uint32_t seed = 20240608;
using Block = std::vector<std::byte>;

// The contents of tests/data/compressed, as its make-extents makes them.
Block text(size_t size) {
  std::string all;
  for (uint64_t i = 0; all.size() < size; ++i)
    all += fmt::format("line {}: the quick brown fox\n", i * i % 23);
  Bytes bytes = as_bytes(all);
  return {bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size)};
}
Block mixed(size_t size) {
  Block out = text(size);
  uint64_t state = 1;
  for (size_t start = sector; start < size; start += 2 * sector)
    for (size_t i = start; i < std::min(start + start / 256, size); ++i) {
      state = (state * 1103515245 + 12345) % (uint64_t{1} << 31);
      out[i] = static_cast<std::byte>(state >> 16);
    }
  return out;
}
Block noise(size_t size) {
  std::mt19937 random(seed);
  Block out(size);
  for (std::byte& byte : out) byte = static_cast<std::byte>(random());
  return out;
}

bool all_are(Bytes bytes, std::byte value) {
  return bytes.empty() ||
         (bytes[0] == value && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

Block padded(Block data, size_t size) {
  data.resize(size);
  return data;
}

struct Codec {
  const char* name;
  Compression type;
};
constexpr Codec zlib{"zlib", Compression::zlib}, lzo{"lzo", Compression::lzo},
    zstd{"zstd", Compression::zstd};

class Compress : public testing::TestWithParam<Codec> {
 protected:
  void SetUp() override {
    if (!compression_supported(type())) GTEST_SKIP() << "built without " << GetParam().name;
  }
  Compression type() const { return GetParam().type; }

  Block from_kernel(std::string_view what) const {
    std::string path = fmt::format("{}/tests/data/compressed/{}-{}", KARST_SOURCE_DIR, GetParam().name, what);
    std::ifstream file(path, std::ios::binary);
    std::string contents(std::istreambuf_iterator<char>(file), {});
    EXPECT_FALSE(contents.empty()) << path;
    Bytes bytes = as_bytes(contents);
    return {bytes.begin(), bytes.end()};
  }

  std::optional<Block> compress(const Block& data, uint32_t sectorsize = sector, int level = 0) const {
    auto compressor = Compressor::create(type(), level);
    if (!compressor) throw std::runtime_error(compressor.error().message());
    Block out(data.size(), std::byte{0xee});
    auto size = (*compressor)->compress(data, out, sectorsize);
    if (!size) throw std::runtime_error(size.error().message());
    if (!*size) return std::nullopt;
    out.resize(**size);
    return out;
  }

  // What comes out of input, decoded to `size` bytes, and how many of them the stream had. The output is
  // surrounded by guards; the error, if it is one, left zeroes.
  Result<std::pair<Block, size_t>> decompress(const Block& input, size_t size, uint32_t sectorsize = sector) {
    constexpr size_t guard = 64;
    Block tight(input);  // so that the address sanitizer sees its end
    Block room(size + 2 * guard, std::byte{0xee});
    MutableBytes out = MutableBytes(room).subspan(guard, size);
    auto decoded = decompressor_.decompress(type(), tight, out, sectorsize);
    EXPECT_TRUE(all_are(MutableBytes(room).first(guard), std::byte{0xee}));
    EXPECT_TRUE(all_are(MutableBytes(room).last(guard), std::byte{0xee}));
    EXPECT_FALSE(decompressor_.holds_addresses());  // MP-004
    if (!decoded) {
      EXPECT_TRUE(all_are(out, std::byte{0}));  // BT-084
      return std::move(decoded).error();
    }
    return std::pair(Block(out.begin(), out.end()), *decoded);
  }
  Result<Block> decompress_inline(const Block& input, size_t size) {
    Block out(size, std::byte{0xee});
    TRY(decompressor_.decompress_inline(type(), input, out, sector));
    return out;
  }
  const ErrorKind* error_of(const Block& input, size_t size, uint32_t sectorsize = sector) {
    auto result = decompress(input, size, sectorsize);
    return result ? nullptr : &result.error().kind();
  }
  void expect_decodes(const Block& input, const Block& data, size_t size, uint32_t sectorsize = sector) {
    auto result = decompress(input, size, sectorsize);
    ASSERT_TRUE(result) << result.error().message();
    EXPECT_EQ(result->second, std::min(data.size(), size));
    EXPECT_TRUE(result->first == padded(data, size));
  }

  Decompressor decompressor_;
};
INSTANTIATE_TEST_SUITE_P(Codecs, Compress, testing::Values(zlib, lzo, zstd),
                         [](const auto& codec) { return codec.param.name; });

TEST_P(Compress, ReadsTheKernelsRegularExtents) {  // BT-081
  expect_decodes(from_kernel("text"), text(131072), 131072);
  expect_decodes(from_kernel("mixed"), mixed(131072), 131072);
}

TEST_P(Compress, ZeroesBeyondTheDataOfTheKernelsLastExtent) {  // BT-081
  expect_decodes(from_kernel("tail"), text(5000), 8192);
}

TEST_P(Compress, ReadsTheKernelsInlineExtents) {  // BT-081
  auto result = decompress_inline(from_kernel("inline"), 1000);
  ASSERT_TRUE(result) << result.error().message();
  EXPECT_TRUE(*result == text(1000));
  expect_decodes(from_kernel("inline"), text(1000), 1000);
}

TEST_P(Compress, StopsWhereTheOutputEnds) {
  for (size_t size : {1, 100, 4095, 4096, 4097, 5000, 65536, 131071})
    expect_decodes(from_kernel("mixed"), mixed(size), size);
}

TEST_P(Compress, AnEmptyOutputNeedsNothing) { expect_decodes(from_kernel("text"), {}, 0); }

TEST_P(Compress, RoundTripsAtEverySizeAroundSectors) {  // BT-081
  std::vector<size_t> sizes = {100, 131071, 131072};
  for (size_t base = sector; base <= 131072; base += base)
    for (size_t size : {base - 1, base, base + 1}) sizes.push_back(std::min<size_t>(size, 131072));
  for (size_t size : sizes)
    for (auto make : {text, mixed}) {
      Block data = make(size);
      auto compressed = compress(data);
      ASSERT_TRUE(compressed) << size;
      ASSERT_LT(compressed->size(), size);
      expect_decodes(*compressed, data, size);
      expect_decodes(padded(*compressed, (compressed->size() + sector - 1) / sector * sector), data,
                     size + 700);
    }
}

TEST_P(Compress, RoundTripsAtAllLevelsAndSectorSizes) {
  Block data = mixed(100000);
  for (uint32_t sectorsize : {4096, 16384, 65536})
    for (int level = 1; level <= compression_level(type(), 99); ++level)
      expect_decodes(compress(data, sectorsize, level).value(), data, 102400, sectorsize);
}

TEST_P(Compress, ReportsWhatDoesNotShrink) {
  EXPECT_EQ(compress(noise(131072)), std::nullopt);
  auto compressor = std::move(Compressor::create(type(), 0)).value();
  Block roomy(10000);
  EXPECT_EQ(compressor->compress(noise(4096), roomy, sector).value(), std::nullopt);
  EXPECT_EQ(compress(noise(1)), std::nullopt);
  EXPECT_EQ(compress({}), std::nullopt);
}

TEST_P(Compress, WritesNoMoreThanTheOutputHolds) {
  Block data = mixed(131072);
  size_t whole = compress(data)->size();
  auto compressor = std::move(Compressor::create(type(), 0)).value();
  for (size_t room : {size_t{0}, size_t{1}, size_t{7}, whole / 2, whole - 1, whole + 64}) {
    Block out(room + 64, std::byte{0xee});
    auto size = compressor->compress(data, MutableBytes(out).first(room), sector);
    ASSERT_TRUE(size);
    EXPECT_EQ(*size, room < whole ? std::nullopt : std::optional(whole)) << room;
    EXPECT_TRUE(all_are(MutableBytes(out).subspan(room), std::byte{0xee}));
  }
}

TEST_P(Compress, RefusesMoreThanAnExtentHolds) {
  auto compressor = std::move(Compressor::create(type(), 0)).value();
  Block out(131073);
  EXPECT_TRUE(compressor->compress(text(131073), out, sector).error().is(karst::err::invalid));
}

TEST_P(Compress, EveryTruncationIsAnError) {  // BT-084
  Block whole = from_kernel("inline");
  for (size_t size = 0; size < whole.size(); ++size) {
    Block cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
    auto* kind = error_of(cut, 1000);
    ASSERT_TRUE(kind && kind->is(err::compressed_data)) << size;
    ASSERT_EQ(kind->errno_value, EIO);
    ASSERT_FALSE(decompress_inline(cut, 1000)) << size;
  }
  Block large = compress(mixed(131072)).value();
  for (size_t size = 0; size < large.size(); size += 97)
    ASSERT_TRUE(error_of(Block(large.begin(), large.begin() + static_cast<ptrdiff_t>(size)), 131072)) << size;
}

TEST_P(Compress, FlippedBitsAreErrorsOrOtherDataAndNothingElse) {  // BT-084
  Block whole = from_kernel("inline");
  size_t errors = 0;
  for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
    Block flipped = whole;
    flipped[bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
    if (auto* kind = error_of(flipped, 1000)) {
      ++errors;
      ASSERT_TRUE(kind->is(err::compressed_data)) << bit;
    }
    (void)decompress_inline(flipped, 1000);
  }
  // zlib has a checksum, which misses only what makes the stream longer than the output.
  EXPECT_GE(errors, whole.size() * 8 * (type() == Compression::zlib ? 9 : 1) / 10) << errors;
}

TEST_P(Compress,
       RandomDamageNeverLeavesUninitialisedBytes) {  // BT-084: the same bytes over other old content
  std::mt19937 random(seed);
  for (const char* what : {"mixed", "tail"})
    for (int round = 0; round < 400; ++round) {
      Block damaged = from_kernel(what);
      for (unsigned i = 0, number = 1 + random() % 4; i < number; ++i)
        damaged[random() % damaged.size()] = static_cast<std::byte>(random());
      size_t size = random() % 150000;
      Block one(size, std::byte{0x55}), two(size, std::byte{0xaa});
      bool ok = decompressor_.decompress(type(), damaged, one, sector).has_value();
      ASSERT_EQ(ok, decompressor_.decompress(type(), damaged, two, sector).has_value());
      ASSERT_TRUE(one == two) << "seed " << seed << " round " << round;
    }
}

TEST_P(Compress, IsUsableAfterAnError) {
  for (const char* what : {"text", "mixed"}) {
    Block damaged = from_kernel(what);
    std::ranges::fill(MutableBytes(damaged).subspan(8, 40), std::byte{0xff});
    EXPECT_TRUE(error_of(damaged, 131072));
    EXPECT_TRUE(error_of(damaged, 4000));
    expect_decodes(from_kernel(what), std::string_view(what) == "text" ? text(131072) : mixed(131072),
                   131072);
  }
}

TEST_P(Compress, ABombFillsTheOutputOnly) {  // BT-084
  Block bomb = compress(Block(131072)).value();
  expect_decodes(bomb, Block(10), 10);
}

TEST_P(Compress, NoiseAndZeroesAreNoStreams) {
  EXPECT_TRUE(error_of(noise(8192), 8192));
  EXPECT_TRUE(error_of(Block(8192), 8192));
  EXPECT_EQ(error_of({}, 4096), &err::compressed_header);
}

TEST_P(Compress, AnInlineExtentThatIsShortIsAnError) {
  auto result = decompress_inline(from_kernel("inline"), 1001);
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().is(err::compressed_short));
}

TEST_P(Compress, RefusesSectorSizesThatBtrfsDoesNotHave) {
  for (uint32_t sectorsize : {0, 1, 4095, 131072})
    EXPECT_EQ(error_of(from_kernel("text"), 4096, sectorsize), &karst::err::invalid);
}

// The buffers of the call before are gone: their use would be a fault.
TEST_P(Compress, UsesNoAddressOfAnEarlierCall) {  // MP-004
  Block data = mixed(131072), compressed = from_kernel("mixed");
  for (size_t size : {131072, 5000, 131072, 131072}) {
    size_t length = 131072 + compressed.size();
    void* memory = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    MutableBytes bytes(static_cast<std::byte*>(memory), length);
    std::ranges::copy(compressed, bytes.begin() + 131072);
    MutableBytes out = bytes.first(size);
    ASSERT_TRUE(decompressor_.decompress(type(), bytes.subspan(131072), out, sector));
    EXPECT_TRUE(std::ranges::equal(out, Bytes(data).first(size)));
    EXPECT_FALSE(decompressor_.holds_addresses());
    mprotect(memory, length, PROT_NONE);  // and never mapped to anything else
  }
}

TEST(Compression, NoneIsNoCodec) {
  Decompressor decompressor;
  Block out(10);
  EXPECT_TRUE(
      decompressor.decompress(Compression::none, out, out, sector).error().is(karst::err::unsupported));
  EXPECT_FALSE(Compressor::create(Compression::none, 1));
}

TEST(Compression, LevelsAreTheKernels) {
  EXPECT_EQ(compression_level(Compression::zlib, 0), 3);
  EXPECT_EQ(compression_level(Compression::zlib, 10), 9);
  EXPECT_EQ(compression_level(Compression::zstd, 0), 3);
  EXPECT_EQ(compression_level(Compression::zstd, 22), 15);
  EXPECT_EQ(compression_level(Compression::zstd, -5), 1);
  EXPECT_EQ(compression_level(Compression::lzo, 7), 1);
}

class Zlib : public Compress {};
INSTANTIATE_TEST_SUITE_P(Codecs, Zlib, testing::Values(zlib));

Block deflated(const Block& data, int window_bits, int flush) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
  Block out(data.size() + 1000);
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  for (size_t at = 0; at < data.size(); at += sector) {
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(data.data())) + at;
    stream.avail_in = static_cast<uInt>(std::min<size_t>(sector, data.size() - at));
    EXPECT_EQ(deflate(&stream, flush), Z_OK);
  }
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

TEST_P(Zlib, StreamsFlushedAtEverySectorAreRead) {  // as the kernel's deflate calls are
  expect_decodes(deflated(mixed(131072), 15, Z_SYNC_FLUSH), mixed(131072), 131072);
  expect_decodes(deflated(mixed(131072), 9, Z_SYNC_FLUSH), mixed(50000), 50000);
}

TEST_P(Zlib, DamageBeyondTheOutputIsNotSeen) {
  Block stream = from_kernel("mixed");
  std::ranges::fill(MutableBytes(stream).subspan(6000), std::byte{0xff});
  expect_decodes(stream, mixed(40000), 40000);
  EXPECT_EQ(error_of(stream, 131072), &err::compressed_stream);
}

TEST_P(Zlib, AWrongChecksumIsAnError) {
  Block stream = from_kernel("inline");
  stream.back() ^= std::byte{1};
  EXPECT_EQ(error_of(stream, 1000), &err::compressed_stream);
}

class Zstd : public Compress {
 protected:
  Block frame(const Block& data, int window_log, bool content_size) {
    ZSTD_CCtx* context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, window_log);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, content_size);
    Block out(ZSTD_compressBound(data.size()));
    ZSTD_inBuffer from{data.data(), data.size(), 0};
    ZSTD_outBuffer to{out.data(), out.size(), 0};
    if (content_size) ZSTD_CCtx_setPledgedSrcSize(context, data.size());
    ZSTD_inBuffer first{data.data(), data.size() / 2, 0};
    ZSTD_compressStream2(context, &to, &first, ZSTD_e_continue);  // or it would know the size after all
    from.pos = first.pos;
    EXPECT_EQ(ZSTD_compressStream2(context, &to, &from, ZSTD_e_end), 0u);
    ZSTD_freeCCtx(context);
    out.resize(to.pos);
    return out;
  }
};
INSTANTIATE_TEST_SUITE_P(Codecs, Zstd, testing::Values(zstd));

TEST_P(Zstd, WindowsUpTo128KiBAreRead) {
  for (int log : {10, 17})
    for (bool content_size : {false, true})
      for (size_t size : {131072, 70000})
        expect_decodes(padded(frame(mixed(131072), log, content_size), 131072), mixed(size), size);
}

TEST_P(Zstd, LargerWindowsAreRefused) {  // bounded memory
  EXPECT_EQ(error_of(frame(mixed(131072), 18, false), 131072), &err::compressed_window);
  EXPECT_EQ(error_of(frame(mixed(131072), 18, false), 1000), &err::compressed_window);
  EXPECT_EQ(error_of(frame(text(200000), 20, true), 131072), &err::compressed_window);
}

TEST_P(Zstd, OnlyTheFirstFrameCounts) {
  Block two = compress(text(5000)).value();
  Block second = compress(text(9000)).value();
  two.insert(two.end(), second.begin(), second.end());
  expect_decodes(two, text(5000), 8192);
}

TEST_P(Zstd, ASkippableFrameIsNoData) {
  Block skippable(16);
  le32 magic = 0x184d2a50, size = 8;
  std::memcpy(skippable.data(), &magic, 4);
  std::memcpy(skippable.data() + 4, &size, 4);
  EXPECT_EQ(error_of(skippable, 100), &err::compressed_header);
}

class Lzo : public Compress {
 protected:
  // A frame of segments that were compressed one by one, as compress.h says.
  Block frame(const std::vector<Block>& segments, bool pad_last = true) {
    Block out(4);
    for (const Block& segment : segments) {
      le32 length = static_cast<uint32_t>(segment.size());
      append(out, bytes_of(length));
      append(out, segment);
      size_t left = sector - out.size() % sector;
      if (left < 4 && (pad_last || &segment != &segments.back())) out.resize(out.size() + left);
    }
    le32 total = static_cast<uint32_t>(out.size());
    std::memcpy(out.data(), &total, 4);
    return out;
  }
  static void append(Block& out, Bytes bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }

  // lzo1x: a run of `size` literals and the end mark. 18 bytes and more.
  static Block segment(const Block& literals) {
    Block out;
    size_t rest = literals.size() - 18;
    out.push_back(std::byte{0});
    for (; rest > 255; rest -= 255) out.push_back(std::byte{0});
    out.push_back(static_cast<std::byte>(rest));
    if (rest == 0) out.pop_back(), out.back() = std::byte{255};
    append(out, literals);
    append(out, std::array{std::byte{0x11}, std::byte{0}, std::byte{0}});
    return out;
  }
};
INSTANTIATE_TEST_SUITE_P(Codecs, Lzo, testing::Values(lzo));

// The first segment's size moves the second's length over the boundary: with less than four bytes left in
// the sector it must begin the next one.
TEST_P(Lzo, NoLengthStraddlesASectorBoundary) {  // BT-081
  size_t straddled = 0;
  for (size_t size = 4040; size <= 4096; ++size) {
    Block one = noise(size), two = text(200);
    Block first = segment(one);
    Block stream = frame({first, segment(two)});
    straddled += (8 + first.size()) % sector > sector - 4;
    Block all = one;
    append(all, two);
    expect_decodes(stream, all, all.size() + 100);
  }
  EXPECT_EQ(straddled, 3u);
}

TEST_P(Lzo, ThePaddingAfterTheLastSegmentMayBeCountedOrNot) {
  for (size_t size = 4040; size <= 4096; ++size)
    for (bool pad_last : {false, true}) {
      Block stream = frame({segment(noise(size))}, pad_last);
      expect_decodes(padded(stream, (stream.size() + sector - 1) / sector * sector), noise(size), 4096);
    }
}

// Walks the frame as the kernel does: a length never straddles, and what is left out instead is zero.
TEST_P(Lzo, EncodesWithPaddingLikeTheKernel) {  // BT-081
  size_t paddings = 0;
  std::mt19937 random(seed);
  const Block noisy = noise(3000);
  for (int round = 0; round < 400; ++round) {
    Block data;
    for (int i = 0; i < 32; ++i) append(data, padded({noisy.begin(), noisy.end() - random() % 2900}, sector));
    Block stream = compress(data).value();
    size_t segments = 0;
    for (size_t offset = 4; offset < stream.size(); ++segments) {
      size_t length = *overlay<le32>(stream, offset);
      offset += 4 + length;
      size_t left = sector - offset % sector;
      if (left >= 4) continue;
      EXPECT_TRUE(all_are(slice(stream, offset, left).value(), std::byte{0}));
      offset += left;
      ++paddings;
    }
    EXPECT_EQ(segments, 32u);
    EXPECT_EQ(*overlay<le32>(stream), stream.size());
    expect_decodes(stream, data, data.size());
  }
  EXPECT_GE(paddings, 3u);
}

TEST_P(Lzo, TheTotalMustBeTheExtentsSize) {
  Block stream = frame({segment(text(500)), segment(text(300))});
  expect_decodes(
      padded(stream, sector),
      [] {
        auto all = text(500);
        append(all, text(300));
        return all;
      }(),
      900);
  EXPECT_EQ(error_of(padded(stream, 2 * sector), 900), &err::compressed_header);  // a sector is unused
  Block longer = stream;
  longer[0] ^= std::byte{1};
  longer[1] = std::byte{0x20};
  EXPECT_EQ(error_of(longer, 900), &err::compressed_header);
}

TEST_P(Lzo, ASegmentMustFitIntoItsFrameAndSector) {
  Block stream = frame({segment(text(500))});
  stream[4] = static_cast<std::byte>(std::to_integer<unsigned>(stream[4]) + 1);
  EXPECT_EQ(error_of(stream, 500), &err::compressed_segment);
  EXPECT_EQ(error_of(frame({segment(noise(sector + 1))}), 2 * sector), &err::compressed_segment);
  EXPECT_EQ(error_of(frame({segment(noise(2 * sector))}), 2 * sector), &err::compressed_segment);
  Block cut = frame({segment(text(500))});
  cut.resize(cut.size() + 2);  // half a length
  cut[0] = static_cast<std::byte>(std::to_integer<unsigned>(cut[0]) + 2);
  EXPECT_EQ(error_of(cut, 600), &err::compressed_segment);
}

TEST_P(Lzo, AnInlineExtentIsOneSegmentToItsEnd) {
  EXPECT_TRUE(decompress_inline(frame({segment(text(500))}), 500));
  EXPECT_TRUE(decompress_inline(frame({segment(text(500))}), 499));
  EXPECT_EQ(&decompress_inline(padded(frame({segment(text(500))}), 600), 500).error().kind(),
            &err::compressed_header);
  EXPECT_EQ(&decompress_inline(frame({segment(text(100)), segment(text(100))}), 200).error().kind(),
            &err::compressed_segment);
}

}  // namespace
}  // namespace karst::btrfs

#include "btrfs/file/compress.h"

#include <new>

#include "btrfs/file/compress_codec.h"

namespace karst::btrfs {

namespace err {
const ErrorKind compressed_data{"compressed-data", &karst::err::corrupt, EIO};
const ErrorKind compressed_header{"compressed-header", &compressed_data, EIO};
const ErrorKind compressed_segment{"compressed-segment", &compressed_data, EIO};
const ErrorKind compressed_window{"compressed-window", &compressed_data, EIO};
const ErrorKind compressed_stream{"compressed-stream", &compressed_data, EIO};
const ErrorKind compressed_short{"compressed-short", &compressed_data, EIO};
}  // namespace err

namespace {

constexpr size_t size_max = size_t{1} << 30;  // zlib counts in 32 bits; nothing of btrfs comes near

Result<void> check_sectorsize(uint32_t sectorsize) {
  if (std::has_single_bit(sectorsize) && sectorsize >= 512 && sectorsize <= 65536) return {};
  return Error::make(karst::err::invalid, "no sector has {} bytes", sectorsize);
}

// The codec, made if it is not there yet.
template <typename Codec>
Result<Codec*> ready(std::optional<Codec>& codec) {
  if (!codec) codec = TRY(Codec::create());
  return &*codec;
}

}  // namespace

bool compression_supported(Compression type) {
  switch (type) {
    case Compression::zlib:
    case Compression::zstd: return true;
    case Compression::lzo:
#if KARST_LZO
      return true;
#else
      return false;
#endif
    case Compression::none: break;
  }
  return false;
}

struct Decompressor::Codecs {
  std::optional<ZlibDecoder> zlib;
  std::optional<LzoDecoder> lzo;
  std::optional<ZstdDecoder> zstd;
};

Decompressor::Decompressor() = default;
Decompressor::~Decompressor() = default;
Decompressor::Decompressor(Decompressor&&) noexcept = default;
Decompressor& Decompressor::operator=(Decompressor&&) noexcept = default;

Result<Decompressor::Codecs*> Decompressor::codecs() {
  if (!codecs_) codecs_.reset(new (std::nothrow) Codecs);
  if (!codecs_) return Error(karst::err::no_memory, "no memory for a decompressor");
  return codecs_.get();
}

Result<void> Decompressor::prepare() {
  Codecs* codecs = TRY(this->codecs());
  TRY(ready(codecs->zlib));
  TRY(ready(codecs->lzo));
  TRY(ready(codecs->zstd));
  return {};
}

Result<size_t> Decompressor::decode(Compression type, Bytes input, MutableBytes output, uint32_t sectorsize,
                                    bool is_inline) {
  TRY(check_sectorsize(sectorsize));
  if (input.size() > size_max || output.size() > size_max)
    return Error::make(karst::err::limit, "an extent of {} bytes from {} is too large to decompress",
                       output.size(), input.size());
  if (output.empty()) return size_t{0};
  if (input.empty()) return Error(err::compressed_header, "a compressed extent of no bytes");
  Codecs* codecs = TRY(this->codecs());
  switch (type) {
    case Compression::zlib: return TRY(ready(codecs->zlib))->decode(input, output);
    case Compression::zstd: return TRY(ready(codecs->zstd))->decode(input, output);
    case Compression::lzo: {
      LzoDecoder* lzo = TRY(ready(codecs->lzo));
      return is_inline ? lzo->decode_inline(input, output, sectorsize)
                       : lzo->decode(input, output, sectorsize);
    }
    case Compression::none: break;
  }
  return Error::make(karst::err::unsupported, "unknown compression {}", static_cast<unsigned>(type));
}

Result<size_t> Decompressor::decompress(Compression type, Bytes input, MutableBytes output,
                                        uint32_t sectorsize) {
  auto size = decode(type, input, output, sectorsize, false);
  std::ranges::fill(output.subspan(size ? *size : 0), std::byte{0});
  return size;
}

Result<void> Decompressor::decompress_inline(Compression type, Bytes input, MutableBytes output,
                                             uint32_t sectorsize) {
  auto size = decode(type, input, output, sectorsize, true);
  if (size && *size == output.size()) return {};
  std::ranges::fill(output, std::byte{0});
  if (!size) return std::move(size).error();
  return Error(err::compressed_short, "the inline extent has too little data").expected(output.size(), *size);
}

bool Decompressor::holds_addresses() const {
  return codecs_ && codecs_->zlib && codecs_->zlib->holds_addresses();
}

int compression_level(Compression type, int level) {
  struct Levels {
    int standard, highest;
  };
  Levels levels = type == Compression::zlib   ? Levels{3, 9}
                  : type == Compression::zstd ? Levels{3, 15}
                                              : Levels{1, 1};
  return level == 0 ? levels.standard : std::clamp(level, 1, levels.highest);
}

struct Compressor::Codec {
  std::variant<ZlibEncoder, LzoEncoder, ZstdEncoder> encoder;
};

Compressor::Compressor(std::unique_ptr<Codec> codec) : codec_(std::move(codec)) {}
Compressor::~Compressor() = default;

Result<std::unique_ptr<Compressor>> Compressor::create(Compression type, int level) {
  level = compression_level(type, level);
  auto make = [](auto&& encoder) -> Result<std::unique_ptr<Compressor>> {
    std::unique_ptr<Codec> codec(new (std::nothrow) Codec{std::move(encoder)});
    if (!codec) return Error(karst::err::no_memory, "no memory for a compressor");
    std::unique_ptr<Compressor> compressor(new (std::nothrow) Compressor(std::move(codec)));
    if (!compressor) return Error(karst::err::no_memory, "no memory for a compressor");
    return compressor;
  };
  switch (type) {
    case Compression::zlib: return make(TRY(ZlibEncoder::create(level)));
    case Compression::lzo: return make(TRY(LzoEncoder::create()));
    case Compression::zstd: return make(TRY(ZstdEncoder::create(level)));
    case Compression::none: break;
  }
  return Error::make(karst::err::unsupported, "unknown compression {}", static_cast<unsigned>(type));
}

Result<std::optional<size_t>> Compressor::compress(Bytes input, MutableBytes output, uint32_t sectorsize) {
  TRY(check_sectorsize(sectorsize));
  if (input.size() > compressed_extent_max)
    return Error::make(karst::err::invalid, "{} bytes are more than a compressed extent may have",
                       input.size());
  if (input.empty()) return std::nullopt;
  output = output.first(std::min(output.size(), input.size() - 1));
  if (output.empty()) return std::nullopt;
  return std::visit(
      [&]<typename Encoder>(Encoder& encoder) {
        if constexpr (std::is_same_v<Encoder, LzoEncoder>)
          return encoder.encode(input, output, sectorsize);
        else
          return encoder.encode(input, output);
      },
      codec_->encoder);
}

}  // namespace karst::btrfs

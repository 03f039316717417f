// LZO: the kernel's frame around liblzo2's lzo1x, one segment for each sector.
#include <new>

#include "btrfs/file/compress.h"
#include "btrfs/file/compress_codec.h"
#include "core/endian.h"

#if KARST_LZO
#include <lzo/lzo1x.h>
#endif

namespace karst::btrfs {

#if KARST_LZO

namespace {

constexpr size_t sectorsize_max = 64 * 1024;
constexpr size_t length_size = sizeof(le32);

// What lzo1x may make of incompressible data. Source: Linux include/linux/lzo.h, lzo1x_worst_compress().
constexpr size_t worst_segment(size_t size) { return size + size / 16 + 64 + 3 + 2; }

// Bytes to leave out at this offset of an extent, so that a length does not straddle a sector boundary.
size_t padding(size_t offset, uint32_t sectorsize) {
  size_t left = sectorsize - offset % sectorsize;
  return left < length_size ? left : 0;
}

const lzo_byte* lzo(const std::byte* bytes) { return reinterpret_cast<const lzo_byte*>(bytes); }
lzo_byte* lzo(std::byte* bytes) { return reinterpret_cast<lzo_byte*>(bytes); }

std::unique_ptr<std::byte[]> allocate(size_t size) {
  return std::unique_ptr<std::byte[]>(new (std::nothrow) std::byte[size]);
}

}  // namespace

Result<LzoDecoder> LzoDecoder::create() {
  LzoDecoder decoder;
  decoder.sector_ = allocate(sectorsize_max);
  if (!decoder.sector_ || lzo_init() != LZO_E_OK)
    return Error(karst::err::no_memory, "no memory for an LZO workspace");
  return decoder;
}

// Decodes straight into out. A segment that has more than out can hold is decoded aside, and what fits is
// taken.
Result<size_t> LzoDecoder::decode_segment(Bytes segment, MutableBytes out, uint32_t sectorsize) {
  lzo_uint size = std::min<size_t>(out.size(), sectorsize);
  int result = lzo1x_decompress_safe(lzo(segment.data()), segment.size(), lzo(out.data()), &size, nullptr);
  if (result == LZO_E_OUTPUT_OVERRUN && out.size() < sectorsize) {
    size = sectorsize;
    result = lzo1x_decompress_safe(lzo(segment.data()), segment.size(), lzo(sector_.get()), &size, nullptr);
    size = std::min<size_t>(size, out.size());
    if (result == LZO_E_OK) std::memcpy(out.data(), sector_.get(), size);
  }
  if (result == LZO_E_OUTPUT_OVERRUN)
    return Error(err::compressed_segment, "an LZO segment has more than a sector of data");
  if (result != LZO_E_OK)
    return Error::make(err::compressed_stream, "LZO data is damaged (lzo1x error {})", result);
  return size;
}

Result<size_t> LzoDecoder::decode(Bytes in, MutableBytes out, uint32_t sectorsize) {
  auto* head = overlay<le32>(in);
  if (!head) return Error(err::compressed_header, "the LZO extent ends in its header");
  size_t total = *head;
  // Each sector of the extent is used.
  if (total > in.size() || in.size() - total >= sectorsize)
    return Error(err::compressed_header, "the LZO length is not the extent's").expected(in.size(), total);

  Bytes frame = in.first(total);
  size_t done = 0;
  for (size_t offset = length_size; offset < frame.size() && done < out.size();) {
    auto* length = overlay<le32>(frame, offset);
    if (!length)
      return Error(err::compressed_segment, "the LZO extent ends in a segment's length").at("offset", offset);
    auto segment = slice(frame, offset + length_size, *length);
    if (!segment || segment->size() > worst_segment(sectorsize))
      return Error::make(err::compressed_segment, "an LZO segment of {} bytes does not fit", *length)
          .at("offset", offset);
    auto size = decode_segment(*segment, out.subspan(done), sectorsize);
    if (!size) return std::move(size).error().at("offset", offset);
    done += *size;
    offset += length_size + segment->size();
    offset += padding(offset, sectorsize);
  }
  return done;
}

Result<size_t> LzoDecoder::decode_inline(Bytes in, MutableBytes out, uint32_t sectorsize) {
  auto* lengths = overlay<le32[2]>(in);
  if (!lengths) return Error(err::compressed_header, "the inline LZO extent ends in its header");
  if ((*lengths)[0] != in.size())
    return Error(err::compressed_header, "the LZO length is not the inline extent's")
        .expected(in.size(), (*lengths)[0]);
  Bytes segment = in.subspan(2 * length_size);
  if ((*lengths)[1] != segment.size())
    return Error(err::compressed_segment, "the LZO segment does not fill the inline extent")
        .expected(segment.size(), (*lengths)[1]);
  return decode_segment(segment, out, sectorsize);
}

Result<LzoEncoder> LzoEncoder::create() {
  LzoEncoder encoder;
  encoder.memory_ = allocate(LZO1X_1_MEM_COMPRESS);
  encoder.segment_ = allocate(worst_segment(sectorsize_max));
  if (!encoder.memory_ || !encoder.segment_ || lzo_init() != LZO_E_OK)
    return Error(karst::err::no_memory, "no memory for an LZO workspace");
  return encoder;
}

Result<std::optional<size_t>> LzoEncoder::encode(Bytes in, MutableBytes out, uint32_t sectorsize) {
  size_t used = length_size;
  auto room = [&](size_t size) { return used <= out.size() && size <= out.size() - used; };
  auto put_length = [&](size_t offset, size_t value) {
    le32 length = static_cast<uint32_t>(value);
    std::memcpy(out.data() + offset, &length, length_size);
  };
  while (!in.empty()) {
    Bytes sector = in.first(std::min<size_t>(in.size(), sectorsize));
    in = in.subspan(sector.size());
    lzo_uint size = 0;
    lzo1x_1_compress(lzo(sector.data()), sector.size(), lzo(segment_.get()), &size,
                     memory_.get());  // never fails
    if (!room(length_size + size)) return std::nullopt;
    put_length(used, size);
    std::memcpy(out.data() + used + length_size, segment_.get(), size);
    used += length_size + size;

    // After the last segment too, and counted in the total: so does the kernel.
    size_t pad = padding(used, sectorsize);
    if (!room(pad)) return std::nullopt;
    std::fill_n(out.data() + used, pad, std::byte{0});
    used += pad;
  }
  put_length(0, used);
  return std::optional(used);
}

#else

namespace {
Error no_lzo() { return Error(karst::err::unsupported, "this build has no LZO (build option KARST_LZO)"); }
}  // namespace

Result<LzoDecoder> LzoDecoder::create() { return LzoDecoder(); }
Result<size_t> LzoDecoder::decode(Bytes, MutableBytes, uint32_t) { return no_lzo(); }
Result<size_t> LzoDecoder::decode_inline(Bytes, MutableBytes, uint32_t) { return no_lzo(); }
Result<LzoEncoder> LzoEncoder::create() { return no_lzo(); }
Result<std::optional<size_t>> LzoEncoder::encode(Bytes, MutableBytes, uint32_t) { return no_lzo(); }

#endif

}  // namespace karst::btrfs

// zstd: one frame, decoded in one pass into the output, so that no window buffer is needed. Only a frame with
// more data than the output goes through the streaming interface.
#include <zstd.h>
#include <zstd_errors.h>

#include <new>

#include "btrfs/file/compress.h"
#include "btrfs/file/compress_codec.h"
#include "core/endian.h"

namespace karst::btrfs {

namespace {

constexpr int window_log_max = 17;  // compressed_extent_max
static_assert(1 << window_log_max == compressed_extent_max);

Error stream_error(size_t code) {
  if (ZSTD_getErrorCode(code) == ZSTD_error_memory_allocation)
    return Error(karst::err::no_memory, "no memory for zstd's buffers");
  return Error::make(err::compressed_stream, "the zstd frame is damaged: {}", ZSTD_getErrorName(code));
}

// The window that a frame asks for; a frame without a window has its content's size.
// Source: RFC 8878, 3.1.1.1.
Result<uint64_t> window_size(Bytes frame) {
  struct Header {
    le32 magic;
    uint8_t descriptor;
    uint8_t window;  // or something else, if the descriptor says that there is none
  };
  constexpr uint8_t single_segment = 0x20;
  auto* header = overlay<Header>(frame);
  if (!header || header->magic != ZSTD_MAGICNUMBER) return Error(err::compressed_header, "no zstd frame");
  if (header->descriptor & single_segment) {
    uint64_t content = ZSTD_getFrameContentSize(frame.data(), frame.size());
    if (content == ZSTD_CONTENTSIZE_ERROR) return Error(err::compressed_header, "no valid zstd frame header");
    return content;
  }
  uint64_t base = uint64_t{1} << (10 + (header->window >> 3));
  return base + base / 8 * (header->window & 7);
}

}  // namespace

struct ZstdDecoder::State {
  ZSTD_DCtx* context = nullptr;
};

void ZstdDecoder::Free::operator()(State* state) const {
  ZSTD_freeDCtx(state->context);
  delete state;
}

Result<ZstdDecoder> ZstdDecoder::create() {
  auto* state = new (std::nothrow) State;
  if (!state) return Error(karst::err::no_memory, "no memory for a zstd workspace");
  ZstdDecoder decoder(state);
  state->context = ZSTD_createDCtx();
  if (!state->context ||
      ZSTD_isError(ZSTD_DCtx_setParameter(state->context, ZSTD_d_windowLogMax, window_log_max)))
    return Error(karst::err::no_memory, "no memory for a zstd workspace");
  return decoder;
}

Result<size_t> ZstdDecoder::decode(Bytes in, MutableBytes out) {
  uint64_t window = TRY(window_size(in));
  if (window > compressed_extent_max)
    return Error::make(err::compressed_window, "the zstd frame needs a window of {} bytes, above {}", window,
                       compressed_extent_max);
  size_t frame_size = ZSTD_findFrameCompressedSize(in.data(), in.size());  // padding follows
  if (ZSTD_isError(frame_size)) return stream_error(frame_size);
  Bytes frame = in.first(frame_size);

  uint64_t content = ZSTD_getFrameContentSize(frame.data(), frame.size());
  bool content_known = content != ZSTD_CONTENTSIZE_UNKNOWN;
  if (content_known && content > out.size()) return decode_prefix(frame, out);
  size_t size = ZSTD_decompressDCtx(state_->context, out.data(), out.size(), frame.data(), frame.size());
  if (!ZSTD_isError(size)) return size;
  if (!content_known && ZSTD_getErrorCode(size) == ZSTD_error_dstSize_tooSmall)
    return decode_prefix(frame, out);
  return stream_error(size);
}

Result<size_t> ZstdDecoder::decode_prefix(Bytes frame, MutableBytes out) {
  ZSTD_DCtx_reset(state_->context, ZSTD_reset_session_only);
  ZSTD_inBuffer from{frame.data(), frame.size(), 0};
  ZSTD_outBuffer to{out.data(), out.size(), 0};
  while (to.pos < to.size) {
    size_t from_before = from.pos, to_before = to.pos;
    size_t result = ZSTD_decompressStream(state_->context, &to, &from);
    if (ZSTD_isError(result)) return stream_error(result);
    if (result == 0) break;
    if (from.pos == from_before && to.pos == to_before)
      return Error(err::compressed_stream, "the zstd frame is cut short").at("data byte", to.pos);
  }
  ZSTD_DCtx_reset(state_->context, ZSTD_reset_session_only);
  return to.pos;
}

struct ZstdEncoder::State {
  ZSTD_CCtx* context = nullptr;
};

void ZstdEncoder::Free::operator()(State* state) const {
  ZSTD_freeCCtx(state->context);
  delete state;
}

Result<ZstdEncoder> ZstdEncoder::create(int level) {
  auto* state = new (std::nothrow) State;
  if (!state) return Error(karst::err::no_memory, "no memory for a zstd workspace");
  ZstdEncoder encoder(state);
  state->context = ZSTD_createCCtx();
  if (!state->context ||
      ZSTD_isError(ZSTD_CCtx_setParameter(state->context, ZSTD_c_compressionLevel, level)) ||
      ZSTD_isError(ZSTD_CCtx_setParameter(state->context, ZSTD_c_windowLog, window_log_max)))
    return Error(karst::err::no_memory, "no memory for a zstd workspace");
  return encoder;
}

Result<std::optional<size_t>> ZstdEncoder::encode(Bytes in, MutableBytes out) {
  size_t size = ZSTD_compress2(state_->context, out.data(), out.size(), in.data(), in.size());
  if (!ZSTD_isError(size)) return std::optional(size);
  if (ZSTD_getErrorCode(size) == ZSTD_error_memory_allocation)
    return Error(karst::err::no_memory, "no memory for zstd's tables");
  return std::nullopt;  // the one other error of a whole input is that it does not fit
}

}  // namespace karst::btrfs

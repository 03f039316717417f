// zlib: libdeflate for whole streams, zlib for those longer than the output, which libdeflate cannot stop in.
#include <libdeflate.h>
#include <zlib.h>

#include <new>

#include "btrfs/file/compress.h"
#include "btrfs/file/compress_codec.h"

namespace karst::btrfs {

struct ZlibDecoder::State {
  libdeflate_decompressor* whole = nullptr;
  z_stream prefix{};
  bool prefix_ready = false;
};

void ZlibDecoder::Free::operator()(State* state) const {
  if (state->prefix_ready) inflateEnd(&state->prefix);
  libdeflate_free_decompressor(state->whole);
  delete state;
}

Result<ZlibDecoder> ZlibDecoder::create() {
  auto* state = new (std::nothrow) State;
  if (!state) return Error(karst::err::no_memory, "no memory for a zlib workspace");
  ZlibDecoder decoder(state);
  state->whole = libdeflate_alloc_decompressor();
  state->prefix_ready = inflateInit2(&state->prefix, MAX_WBITS) == Z_OK;
  if (!state->whole || !state->prefix_ready)
    return Error(karst::err::no_memory, "no memory for a zlib workspace");
  return decoder;
}

Result<size_t> ZlibDecoder::decode(Bytes in, MutableBytes out) {
  size_t consumed = 0, written = 0;
  auto result = libdeflate_zlib_decompress_ex(state_->whole, in.data(), in.size(), out.data(), out.size(),
                                              &consumed, &written);
  if (result == LIBDEFLATE_SUCCESS) return written;
  if (result == LIBDEFLATE_INSUFFICIENT_SPACE) return decode_prefix(in, out);
  return Error(err::compressed_stream, "the zlib stream is damaged or cut short");
}

Result<size_t> ZlibDecoder::decode_prefix(Bytes in, MutableBytes out) {
  z_stream& stream = state_->prefix;
  inflateReset(&stream);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(in.data()));  // it only reads
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  int result = inflate(&stream, Z_SYNC_FLUSH);
  size_t written = out.size() - stream.avail_out;
  stream.next_in = stream.next_out = nullptr;
  stream.avail_in = stream.avail_out = 0;

  if (result == Z_MEM_ERROR) return Error(karst::err::no_memory, "no memory for zlib's window");
  if (written == out.size() || result == Z_STREAM_END) return written;
  return Error(err::compressed_stream, "the zlib stream is damaged or cut short").at("data byte", written);
}

bool ZlibDecoder::holds_addresses() const { return state_->prefix.next_in || state_->prefix.next_out; }

struct ZlibEncoder::State {
  libdeflate_compressor* compressor = nullptr;
};

void ZlibEncoder::Free::operator()(State* state) const {
  libdeflate_free_compressor(state->compressor);
  delete state;
}

Result<ZlibEncoder> ZlibEncoder::create(int level) {
  auto* state = new (std::nothrow) State;
  if (!state) return Error(karst::err::no_memory, "no memory for a zlib workspace");
  ZlibEncoder encoder(state);
  state->compressor = libdeflate_alloc_compressor(level);
  if (!state->compressor) return Error(karst::err::no_memory, "no memory for a zlib workspace");
  return encoder;
}

Result<std::optional<size_t>> ZlibEncoder::encode(Bytes in, MutableBytes out) {
  size_t size = libdeflate_zlib_compress(state_->compressor, in.data(), in.size(), out.data(), out.size());
  if (size == 0) return std::nullopt;
  return std::optional(size);
}

}  // namespace karst::btrfs

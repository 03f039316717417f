// Compressed extents: zlib, LZO and zstd in the framing that the Linux kernel reads and writes.
//
// On disk a compressed extent is one stream of at most 128 KiB of data:
//   zlib   an RFC 1950 stream
//   zstd   one frame whose window is at most 128 KiB
//   lzo    le32 total length, itself included; then segments, each le32 length and that many bytes, each of
//          one sector of data. No length straddles a sector boundary of the extent: where fewer than four
//          bytes are left in a sector, zeroes fill it.
// Regular extents are padded to whole sectors, with anything; inline ones are not padded. The last extent
// of a file usually decodes to less than its ram_bytes: the kernel compresses the file's bytes, and ram_bytes
// is rounded up to sectors. The rest reads as zeroes.
// Sources: Linux fs/btrfs/zlib.c, lzo.c, zstd.c, compression.c; include/uapi/linux/btrfs.h (encoded writes).
//
// Thread-safety: a Decompressor or Compressor is used by one thread at a time. They come from pools
// (compress_pool.h). None keeps an address of input or output after a call (MP-004).
#pragma once
#include <cstdint>
#include <memory>
#include <optional>

#include "btrfs/format/inode.h"
#include "core/bytes.h"
#include "core/result.h"

namespace karst::btrfs {

constexpr size_t compressed_extent_max = 128 * 1024;  // of data, before compression

namespace err {
extern const ErrorKind compressed_data;  // parent of the others; EIO, as the kernel answers
extern const ErrorKind
    compressed_header;  // not a stream of this codec, or lengths that contradict the extent
extern const ErrorKind compressed_segment;  // an LZO segment that does not fit into its frame or its sector
extern const ErrorKind compressed_window;   // a zstd frame that needs a larger window than btrfs allows
extern const ErrorKind compressed_stream;   // the codec found a contradiction or the end of the input
extern const ErrorKind compressed_short;    // an inline extent that decodes to less than it should
}  // namespace err

// Whether this build can read and write the codec: LZO depends on the build option KARST_LZO.
bool compression_supported(Compression type);

class Decompressor {
 public:
  // Has no workspace yet: each codec's is allocated when it is first used.
  Decompressor();
  ~Decompressor();
  Decompressor(Decompressor&&) noexcept;
  Decompressor& operator=(Decompressor&&) noexcept;

  // Allocates every codec's workspace now, so that no later call allocates, save the first that stops before
  // the end of a stream. no_memory is the only error.
  Result<void> prepare();

  // Decodes the extent from its start until output is full or the stream ends, and returns how many bytes
  // that gave. The rest of output is zeroed. What the stream holds beyond output is not looked at, but a
  // stream of exactly this size must be intact to its end.
  // On an error output is all zeroes. Errors: children of compressed_data; unsupported for a codec that this
  // build lacks and for Compression::none; invalid for a sectorsize that btrfs does not have; no_memory.
  Result<size_t> decompress(Compression type, Bytes input, MutableBytes output, uint32_t sectorsize);

  // The same for the data of an inline extent, with the kernel's stricter rules: LZO is one segment that ends
  // where the input ends, and data that does not fill output is err::compressed_short (Linux 6.9 and later;
  // before, the rest read as zeroes).
  Result<void> decompress_inline(Compression type, Bytes input, MutableBytes output, uint32_t sectorsize);

  bool holds_addresses() const;  // for tests of MP-004

 private:
  struct Codecs;
  Result<Codecs*> codecs();
  Result<size_t> decode(Compression type, Bytes input, MutableBytes output, uint32_t sectorsize,
                        bool is_inline);
  std::unique_ptr<Codecs> codecs_;
};

// Levels: zlib 1 … 9, zstd 1 … 15, LZO 1. The one that the kernel would use for this one: 0 is the default
// (zlib and zstd: 3), what is beyond the range its nearest end.
int compression_level(Compression type, int level);

class Compressor {
 public:
  // The level goes through compression_level().
  static Result<std::unique_ptr<Compressor>> create(Compression type, int level);
  ~Compressor();

  // Compresses the whole input into output and returns the size, or nothing if that does not fit or would
  // not be smaller than the input. Whether saving less than a sector is worth it is the caller's question.
  // Errors: invalid for input above compressed_extent_max or a bad sectorsize; no_memory.
  Result<std::optional<size_t>> compress(Bytes input, MutableBytes output, uint32_t sectorsize);

 private:
  struct Codec;
  explicit Compressor(std::unique_ptr<Codec> codec);
  std::unique_ptr<Codec> codec_;
};

}  // namespace karst::btrfs

// File contents in the form in which they are stored: sectors, compressed where that saves some, checksums.
//
// A batch is a buffer of what will be on the devices, and the extents in it, in order. It is filled by one
// worker and then placed (extent_placer.h). No extent in it is longer than the batch; a compressed one has at
// most 128 KiB of content, and with digests all do.
//
// Thread-safety: Codecs may be shared; a batch and its encoder belong to one thread at a time.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "btrfs/file/compress_pool.h"
#include "btrfs/format/superblock.h"
#include "btrfs/tool/build/node.h"
#include "core/mutex.h"

namespace karst::btrfs::build {

// How one file's data is stored.
struct Encoding {
  Compression compression = Compression::none;
  int level = 0;
  bool checksums = true;
};
// What properties make of the build's own choice.
Encoding encoding_of(const Properties& properties, const Encoding& by_default);

struct EncodedExtent {
  uint32_t file = 0;         // the caller's number
  uint64_t file_offset = 0;  // bytes; whole sectors, as all of these
  uint32_t num_bytes = 0;    // of the file
  uint32_t at = 0;           // in the batch's data
  uint32_t disk_bytes = 0;
  Compression compression = Compression::none;
  bool checksums = true;
};

struct EncodedBatch {
  static constexpr uint32_t capacity = 1 << 20;
  std::unique_ptr<std::byte[]> data;  // capacity bytes
  uint32_t used = 0;
  std::vector<EncodedExtent> extents;
  std::vector<std::byte> checksums;  // of every sector of the data used
  std::vector<Checksum> digests;  // one for each extent, if asked for: of the content, and how it is stored
};

// Buffers for batches, used again.
class BatchBuffers {
 public:
  std::unique_ptr<std::byte[]> take();
  void give_back(std::unique_ptr<std::byte[]> buffer);

 private:
  static constexpr LockClass lock_class{"build.buffers"};
  Mutex mutex_{lock_class};
  std::vector<std::unique_ptr<std::byte[]>> free_ GUARDED_BY(mutex_);
};

// Compressors of each kind that is used.
class Codecs {
 public:
  Result<CompressorPool*> pool(Compression type, int level);

 private:
  static constexpr LockClass lock_class{"build.codecs"};
  Mutex mutex_{lock_class};
  std::map<std::pair<Compression, int>, std::unique_ptr<CompressorPool>> pools_ GUARDED_BY(mutex_);
};

class ExtentEncoder {
 public:
  ExtentEncoder(const Geometry& geometry, Codecs& codecs, bool digests, EncodedBatch& batch)
      : geometry_(geometry), codecs_(codecs), with_digests_(digests), batch_(batch) {}

  uint32_t room() const { return EncodedBatch::capacity - batch_.used; }
  // Room for content that is stored as it is: at most room() bytes, whole sectors. Filled in by the caller,
  // then taken in by add_raw(), or not at all.
  MutableBytes reserve(uint32_t bytes) { return {batch_.data.get() + batch_.used, bytes}; }
  // The bytes reserved last are the file's content from file_offset on.
  void add_raw(uint32_t file, uint64_t file_offset, uint32_t bytes, const Encoding& encoding);
  // Content of whole sectors that fits into room(), compressed piece by piece where the encoding says so.
  Result<void> add(uint32_t file, uint64_t file_offset, Bytes content, const Encoding& encoding);
  // Checksums and digests of everything added.
  void finish();

 private:
  Result<bool> try_compressed(uint32_t file, uint64_t file_offset, Bytes piece, const Encoding& encoding);

  const Geometry& geometry_;
  Codecs& codecs_;
  const bool with_digests_;
  EncodedBatch& batch_;
};

// The most bytes that an item may have in itself, of those wanted.
uint32_t inline_limit(const Geometry& geometry, uint32_t wanted);
// Content that is stored in its item, compressed if that makes it smaller.
struct InlineContent {
  std::vector<std::byte> bytes;
  Compression compression = Compression::none;
};
Result<InlineContent> encode_inline(Bytes content, const Encoding& encoding, Codecs& codecs,
                                    uint32_t sectorsize);

}  // namespace karst::btrfs::build

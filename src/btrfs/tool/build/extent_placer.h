// Puts encoded extents into the image, one batch after the other: gives them addresses, writes them together,
// records their checksums. With sharing on, content that is there already is not written again.
//
// Not thread-safe. Errors: no_space and those of the devices.
#pragma once
#include <unordered_map>

#include "btrfs/tool/build/extent_encoder.h"
#include "btrfs/tool/make/image_writer.h"

namespace karst::btrfs::build {

// An extent of a file where it lies. What does not fit where one chunk ends is cut in two, unless it is
// compressed.
struct PlacedExtent {
  uint64_t file_offset = 0;  // bytes, as all of these
  uint64_t num_bytes = 0;    // of the file
  uint64_t address = 0;      // logical
  uint64_t disk_bytes = 0;
  Compression compression = Compression::none;
};

class ExtentPlacer {
 public:
  // share_limit: how many different pieces are remembered (about 64 bytes each); 0: nothing is shared. Beyond
  // it, only what is remembered is found again.
  ExtentPlacer(ImageWriter& writer, size_t share_limit) : writer_(writer), share_limit_(share_limit) {}

  using Each = FunctionRef<Result<void>(uint32_t file, const PlacedExtent&)>;
  // Calls back for each extent of the batch in order, cut or not.
  Result<void> place(const EncodedBatch& batch, Each each);
  bool shares() const { return share_limit_ != 0; }
  uint64_t bytes_shared() const { return bytes_shared_; }

 private:
  struct DigestHash {
    size_t operator()(const Checksum& digest) const {
      size_t hash;
      std::memcpy(&hash, digest.bytes.data() + 8, sizeof hash);
      return hash;
    }
  };
  // What is to be written from the batch's data to one run of the image.
  struct Pending {
    uint64_t address = 0, end = 0;
    std::vector<Bytes> pieces;
  };
  Result<void> write(const EncodedBatch& batch, uint32_t at, uint32_t bytes, uint64_t address,
                     bool checksums);
  Result<void> flush();

  ImageWriter& writer_;
  const size_t share_limit_;
  std::unordered_map<Checksum, uint64_t, DigestHash> known_;  // digest to address
  Pending pending_;
  uint64_t bytes_shared_ = 0;
};

}  // namespace karst::btrfs::build

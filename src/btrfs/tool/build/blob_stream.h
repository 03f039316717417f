// A file's bytes for libarchive, hashed on the way if they have a digest to match. Of regular files, a pool
// reads ahead; what may stay silent for long is read when it is asked for.
#pragma once
#include <memory>
#include <vector>

#include "btrfs/tool/build/archive_source.h"

namespace karst::btrfs::build {

class BlobStream {
 public:
  // The descriptor is read until its end, or until `cancel` says so: a pipe may stay silent for long.
  static Result<BlobStream> create(int fd, const std::optional<Digest>& digest, CancelToken cancel = {},
                                   WorkerPool* pool = nullptr);
  BlobStream(BlobStream&&) noexcept;
  ~BlobStream();

  // The next bytes, empty at the end. Until the next call.
  Result<Bytes> next();
  // Reads what is left, and compares. err::source_digest.
  Result<void> verify();

 private:
  Result<Bytes> read_now();
  Result<Bytes> read_ahead();
  struct State;
  explicit BlobStream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace karst::btrfs::build

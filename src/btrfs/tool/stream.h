// A file's contents as a stream: read, verified and decompressed ahead by the pool's threads, given in order.
#pragma once
#include "btrfs/tool/open_image.h"
#include "core/cancel.h"
#include "core/progress.h"
#include "core/worker_pool.h"

namespace karst::btrfs {

struct StreamOptions {
  uint64_t offset = 0;
  uint64_t length = ~0ull;     // up to the end of the file
  uint64_t memory = 16 << 20;  // bytes read ahead
  CancelToken cancel;
  ProgressRef progress;
};

// Gives the file's bytes to `sink` in order, in pieces borrowed for the call. The first error ends it.
Result<void> stream_file(const Image& image, const Located& file, const StreamOptions& options,
                         WorkerPool& pool, FunctionRef<Result<void>(Bytes)> sink);

}  // namespace karst::btrfs

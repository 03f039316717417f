// Copying what one device holds to another that reads as zeroes.
#pragma once
#include "block/device.h"
#include "core/cancel.h"
#include "core/progress.h"
#include "core/worker_pool.h"

namespace karst::block {

struct CopyOptions {
  uint64_t unit = 65536;  // bytes; units of zeroes alone, and what the source says is a hole, are not written
  CancelToken cancel;
  ProgressRef progress;  // counts the source's bytes, holes included
};
struct CopyReport {
  uint64_t written = 0;  // bytes
};

// The source's bytes to the beginning of the target, in order and flushed in the end; several pieces are read
// at once. What is written is of whole blocks of the target, the last of them filled up with zeroes.
// err::no_space if the target is smaller; err::cancelled.
Result<CopyReport> copy_device(Device& from, Device& to, WorkerPool& pool, const CopyOptions& options);

}  // namespace karst::block

// A directory tree as a pax tar.
//
// What the kernel's mount would show to tar: hard links, sparse files, extended attributes, ACLs, device
// nodes, times to the nanosecond. copy_tree() does the work, TarTarget the format.
#pragma once
#include <cstdint>

#include "btrfs/tool/copy_tree.h"
#include "btrfs/tool/tar_target.h"

namespace karst::btrfs {

struct ExportOptions {
  WalkOptions walk;
  uint64_t memory = 32 << 20;  // bytes of file contents in flight
  CancelToken cancel;
  ProgressRef progress;
};

// What the archive holds, and what it could not.
struct ExportReport {
  uint64_t entries = 0;
  uint64_t bytes = 0;    // of file contents
  uint64_t sockets = 0;  // left out: tar has no sockets
  uint64_t errors = 0;   // entries left out or with ranges that read as zeroes; each is in the log
};

// Exports the tree at `start`. What cannot be read is logged, counted and left out (a file's unreadable
// ranges are zeroes); the error returned is one of the sink, of cancellation or of memory.
Result<ExportReport> export_tar(const Image& image, const Located& start, const ExportOptions& options,
                                WorkerPool& pool, TarSink sink);

}  // namespace karst::btrfs

// Builds the trees of a layout into an image: subvolume after subvolume, inode after inode, with their data.
//
// Workers load and encode (FileLoader); one thread takes what they made, in order, and gives it addresses and
// items. So the image does not depend on the number of threads.
#pragma once
#include "btrfs/tool/build/stored_contents.h"
#include "core/cancel.h"
#include "core/progress.h"

namespace karst::btrfs::build {

struct BuildOptions {
  FileLoader::Options load;
  uint64_t memory = 24 << 20;  // of batches in flight
  std::string temporary_directory = "/var/tmp";
  CancelToken cancel;
  ProgressRef progress;
};

struct BuildReport {
  uint64_t inodes = 0, subvolumes = 0;
  uint64_t bytes = 0;       // of regular files
  uint64_t disk_bytes = 0;  // of their extents, shared ones counted each time
};

// `stored` is finished, or nullptr if no source stored contents. The writer is left to be finished.
Result<BuildReport> build_trees(const Layout& layout, const SourceFiles& files, const StoredContents* stored,
                                ImageWriter& writer, ExtentPlacer& placer, Codecs& codecs,
                                BatchBuffers& buffers, WorkerPool& pool, const BuildOptions& options);

}  // namespace karst::btrfs::build

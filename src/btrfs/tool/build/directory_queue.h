// What is known of directories, until their entries come: those of one depth stand in the same order as the
// groups of their entries at the next (record.h), so that a queue is all there is to it.
//
// Not thread-safe. Errors: those of the temporary file.
#pragma once
#include <optional>
#include <string>

#include "btrfs/tool/build/record.h"
#include "core/spill_queue.h"

namespace karst::btrfs::build {

class DirectoryQueue {
 public:
  explicit DirectoryQueue(const std::string& temporary_directory) : queue_(temporary_directory, 256 << 10) {}

  struct Directory {
    le64 number;   // of the inode
    le64 barrier;  // what was said before that sequence about anything below it does not count
  };
  // `place` is the directory's settled key. In the order of keys.
  Result<void> push(Bytes place, const Directory& directory);
  // The directory with this settled key; nothing if it was not pushed. In the order of keys; those before are
  // forgotten.
  Result<std::optional<Directory>> find(Bytes place);
  void clear() { queue_.clear(); }

 private:
  SpillQueue queue_;  // a Directory, then its key
  RecordBytes scratch_;
};
static_assert(Overlay<DirectoryQueue::Directory>);

}  // namespace karst::btrfs::build

#include "btrfs/tool/build/directory_queue.h"

#include "core/sorted_run.h"

namespace karst::btrfs::build {

Result<void> DirectoryQueue::push(Bytes place, const Directory& directory) {
  scratch_.assign(bytes_of(directory).begin(), bytes_of(directory).end());
  scratch_.insert(scratch_.end(), place.begin(), place.end());
  return queue_.push(scratch_);
}

Result<std::optional<DirectoryQueue::Directory>> DirectoryQueue::find(Bytes place) {
  for (;; queue_.pop()) {
    const std::optional<Bytes> first = TRY(queue_.front());
    const int order = first ? compare_keys(first->subspan(sizeof(Directory)), place) : 1;
    if (order > 0) return std::optional<Directory>();
    if (order == 0) return std::optional(*overlay<Directory>(*first));
  }
}

}  // namespace karst::btrfs::build

#include "btrfs/tool/build/source_errors.h"

#include "btrfs/tool/build/errors.h"

namespace karst::btrfs::build {

Result<void> SkipSourceErrors::failed(Error error) {
  if (!error.is(err::source)) return error;
  log_.warning("left out", {}, &error);
  MutexLock lock(mutex_);
  ++count_;
  return {};
}

uint64_t SkipSourceErrors::count() const {
  MutexLock lock(mutex_);
  return count_;
}

}  // namespace karst::btrfs::build

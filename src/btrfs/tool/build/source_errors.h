// What to do about a source's entry that cannot be read.
#pragma once
#include <cstdint>

#include "core/log.h"
#include "core/mutex.h"
#include "core/result.h"

namespace karst::btrfs::build {

// Thread-safe.
class SourceErrorPolicy {
 public:
  virtual ~SourceErrorPolicy() = default;
  // The error, to end the build; or success, to go on without the entry (or with what could be read of it).
  virtual Result<void> failed(Error error) = 0;
};

// Ends with the first.
class StopOnSourceError : public SourceErrorPolicy {
 public:
  Result<void> failed(Error error) override { return error; }
};

// Leaves the entry out, logs and counts it. Errors that are not a source's (err::source) still end the build.
class SkipSourceErrors : public SourceErrorPolicy {
 public:
  explicit SkipSourceErrors(Logger log) : log_(std::move(log)) {}
  Result<void> failed(Error error) override;
  uint64_t count() const;

 private:
  const Logger log_;
  static constexpr LockClass lock_class{"build.source-errors"};
  mutable Mutex mutex_{lock_class};
  uint64_t count_ GUARDED_BY(mutex_) = 0;
};

}  // namespace karst::btrfs::build

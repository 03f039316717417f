// A temporary file without a name, for what memory does not hold: it is gone when its owner is, or the
// process.
//
// Thread-safety: one thread appends; any thread may read what was appended before.
#pragma once
#include <string>

#include "core/bytes.h"
#include "core/result.h"
#include "core/unique_fd.h"

namespace karst {

class SpillFile {
 public:
  // err::no_space from append() once the file would have more than `limit` bytes.
  static Result<SpillFile> create(const std::string& directory, uint64_t limit);

  // Writes at the end; where that was. Errors of the file system, err::no_space among them.
  Result<uint64_t> append(Bytes bytes);
  // All of `out`, which was appended before.
  Result<void> read(uint64_t offset, MutableBytes out) const;
  uint64_t size() const { return size_; }
  // Gives the space of [0, size()) back, and begins again at 0.
  Result<void> clear();

 private:
  SpillFile(UniqueFd fd, uint64_t limit) : fd_(std::move(fd)), limit_(limit) {}
  UniqueFd fd_;
  uint64_t limit_;
  uint64_t size_ = 0;
};

}  // namespace karst

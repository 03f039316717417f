// Runs of sorted records in a temporary file, as ExternalSorter spills them.
//
// A record is three varints (how many bytes of its key are those of the key before, how many follow, size of
// the value), the rest of the key, and the value. The first record of a run shares nothing.
#pragma once
#include <vector>

#include "core/spill_file.h"

namespace karst {

// memcmp order; a key before the longer ones that begin with it. Negative, zero, positive.
int compare_keys(Bytes a, Bytes b);

struct SortedRun {
  uint64_t offset = 0, size = 0;  // in the file
  std::vector<std::byte> last_key;
};

// Writes one run at a time at the end of a file.
class RunWriter {
 public:
  explicit RunWriter(SpillFile& file) : file_(file) {}
  // A new run, or the continuation of the one that ends the file.
  void begin(SortedRun run = {});
  Result<void> add(Bytes key, Bytes value);
  Result<SortedRun> end();

 private:
  Result<void> flush();
  SpillFile& file_;
  SortedRun run_;
  std::vector<std::byte> buffer_;
  bool first_ = true;
};

class RunReader {
 public:
  RunReader(const SpillFile& file, const SortedRun& run);
  // As ExternalSorter::Reader.
  Result<bool> next();
  Bytes key() const { return key_; }
  Bytes value() const { return value_; }

 private:
  Result<void> fill(size_t wanted);
  const SpillFile* file_;
  uint64_t offset_, left_;  // of what is not in the buffer yet
  std::vector<std::byte> buffer_;
  size_t begin_ = 0, end_ = 0;  // of what is in the buffer and not read
  std::vector<std::byte> key_;
  Bytes value_;
};

}  // namespace karst

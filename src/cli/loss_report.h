// What a restore did not bring over, for people on standard error and for programs as JSON.
#pragma once
#include <cstdio>
#include <memory>
#include <string>

#include "btrfs/tool/copy_tree.h"
#include "btrfs/tree/damage.h"
#include "cli/output.h"

namespace karst::cli {

// Takes losses as they come and keeps none. The JSON is one object, its array "lost" first.
class LossReport {
 public:
  // `file` is where the JSON goes, if anywhere; borrowed. `text`: a line each on standard error.
  LossReport(FILE* file, bool text) : file_(file), text_(text) {}

  void add(const btrfs::CopyLoss& loss);
  void add(const btrfs::LostBlock& block);
  // Ends the JSON with these members.
  Result<void> finish(const Json& members);

  uint64_t count() const { return count_; }            // of losses, without blocks
  uint64_t unverified() const { return unverified_; }  // of these, those that were given all the same

 private:
  void begin_element(const char* array);
  FILE* const file_;
  const bool text_;
  const char* array_ = nullptr;  // the one that is open
  uint64_t count_ = 0, unverified_ = 0;
};

}  // namespace karst::cli

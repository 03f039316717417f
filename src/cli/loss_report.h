// What a restore did not bring over, for people on standard error and for programs as JSON.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "btrfs/tool/copy_tree.h"
#include "btrfs/tree/damage.h"
#include "cli/output.h"

namespace karst::cli {

// Takes losses as they come and keeps none. The JSON is one object, its array "lost" first.
class LossReport {
 public:
  using Writer = std::function<Result<void>(std::string_view)>;
  // `writers` take the JSON. `text`: a line each on standard error.
  LossReport(std::vector<Writer> writers, bool text) : writers_(std::move(writers)), text_(text) {}

  void add(const btrfs::CopyLoss& loss);
  void add(const btrfs::LostBlock& block);
  // Ends the JSON with these members. The error is the first one of a writer.
  Result<void> finish(const Json& members);

  uint64_t count() const { return count_; }            // of losses, without blocks
  uint64_t unchecked() const { return unchecked_; }    // of these, those that only want for a checksum
  uint64_t unverified() const { return unverified_; }  // of these, those that were given all the same

 private:
  void put(const std::string& text);
  void put_element(const char* array, const Json& element);
  const std::vector<Writer> writers_;
  const bool text_;
  Result<void> outcome_;
  const char* array_ = nullptr;  // the one that is open
  uint64_t count_ = 0, unchecked_ = 0, unverified_ = 0;
};

}  // namespace karst::cli

// Findings: what is wrong, in the words of btrfs check, each with a stable id.
//
// A FindingKind is a constant: its id is documented in karst-btrfs-check(1) and never changes its meaning.
// The Report hands findings to the receiver one at a time, counts them all, and passes on at most so many of
// one kind: what an image makes us print is bounded. Thread-safe.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/mutex.h"

namespace karst::btrfs::check {

enum class Severity : uint8_t { problem, warning };  // a warning does not make the file system broken

struct FindingKind {
  const char* id;
  Severity severity = Severity::problem;
};

struct Finding {
  const FindingKind& kind;
  std::string text;  // as btrfs check says it; several lines are possible
  std::vector<std::pair<const char*, uint64_t>> places;
};

namespace finding {
// Superblock, devices, chunks.
inline constexpr FindingKind super_size{"super-size"};
inline constexpr FindingKind super_copy{"super-copy"};
inline constexpr FindingKind super_mirror{"super-mirror", Severity::warning};
inline constexpr FindingKind super_bytes_used{"super-bytes-used"};
inline constexpr FindingKind super_device{"super-device-mismatch", Severity::warning};
inline constexpr FindingKind device_count{"device-count"};
inline constexpr FindingKind device_size{"device-size", Severity::warning};
inline constexpr FindingKind device_small{"device-too-small"};
inline constexpr FindingKind device_identity{"device-identity"};
inline constexpr FindingKind device_used{"device-bytes-used"};
inline constexpr FindingKind device_missing{"device-missing", Severity::warning};
inline constexpr FindingKind device_stats{"device-statistics", Severity::warning};
inline constexpr FindingKind chunk_block_group{"chunk-block-group"};
inline constexpr FindingKind chunk_device_extent{"chunk-device-extent"};
inline constexpr FindingKind block_group_chunk{"block-group-without-chunk"};
inline constexpr FindingKind block_group_used{"block-group-used"};
inline constexpr FindingKind device_extent_chunk{"device-extent-without-chunk"};
inline constexpr FindingKind device_extent_device{"device-extent-without-device"};
inline constexpr FindingKind device_extent_overlap{"device-extent-overlap"};
inline constexpr FindingKind device_extent_bounds{"device-extent-beyond-device"};
// Trees.
inline constexpr FindingKind bad_block{"bad-tree-block"};
inline constexpr FindingKind bad_copy{"bad-copy"};
inline constexpr FindingKind block_mismatch{"tree-block-mismatch"};
inline constexpr FindingKind item_key{"item-of-foreign-tree"};
inline constexpr FindingKind root_item{"root-item"};
inline constexpr FindingKind missing_tree{"missing-tree"};
inline constexpr FindingKind log_csum{"log-checksum-missing"};
// Extents.
inline constexpr FindingKind extent_refs{"extent-reference-count"};
inline constexpr FindingKind extent_backref{"extent-back-reference"};
inline constexpr FindingKind extent_level{"extent-level"};
inline constexpr FindingKind extent_generation{"extent-generation"};
inline constexpr FindingKind extent_overlap{"extent-overlap"};
inline constexpr FindingKind extent_type{"extent-type"};
inline constexpr FindingKind extent_crosses_stripe{"extent-crosses-stripe"};
inline constexpr FindingKind free_space{"free-space"};
inline constexpr FindingKind free_space_cache{"free-space-cache"};
// Checksums.
inline constexpr FindingKind csum_orphan{"checksum-without-extent"};
inline constexpr FindingKind csum_overlap{"checksum-overlap"};
inline constexpr FindingKind data_csum{"data-checksum"};
// Files and subvolumes.
inline constexpr FindingKind inode{"inode"};
inline constexpr FindingKind root_directory{"root-directory"};
inline constexpr FindingKind file_tree{"file-tree"};
inline constexpr FindingKind root_refs{"root-references"};
inline constexpr FindingKind root_orphan{"root-orphan"};
inline constexpr FindingKind uuid_tree{"uuid-tree", Severity::warning};
inline constexpr FindingKind qgroup{"quota-group"};
inline constexpr FindingKind qgroup_stale{"quota-group-inconsistent", Severity::warning};
inline constexpr FindingKind not_listed{"more-of-the-same", Severity::warning};
}  // namespace finding

// Takes what the check says, in order; never called by two threads at once.
class CheckReceiver {
 public:
  virtual ~CheckReceiver() = default;
  virtual void phase(const std::string& title) = 0;  // "[3/8] checking extents"
  virtual void finding(const Finding& finding) = 0;
};

class Report {
 public:
  explicit Report(CheckReceiver& receiver) : receiver_(receiver) {}
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  void phase(const std::string& title);
  void add(const FindingKind& kind, std::string text,
           std::vector<std::pair<const char*, uint64_t>> places = {});
  // An error with what it was met at.
  void add(const FindingKind& kind, const Error& error);
  // Says how many findings of a kind were not passed on.
  void finish();

  uint64_t problems() const { return problems_.load(std::memory_order_relaxed); }
  uint64_t warnings() const { return warnings_.load(std::memory_order_relaxed); }

 private:
  static constexpr uint64_t listed_max = 1000;  // of one kind
  static constexpr LockClass lock_class{"check.report"};
  CheckReceiver& receiver_;
  std::atomic<uint64_t> problems_{0}, warnings_{0};  // statistics; read when the threads have ended
  Mutex mutex_{lock_class};
  std::vector<std::pair<const FindingKind*, uint64_t>> counts_ GUARDED_BY(mutex_);
};

}  // namespace karst::btrfs::check

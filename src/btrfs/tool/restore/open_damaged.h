// Opening an image of which anything may be broken.
//
// In order, each step going on with what it can get: a superblock from any copy of any device; the chunk map
// from the chunk tree, where that has holes also from the backups' chunk trees, and from chunk tree leaves
// found in the system chunks or anywhere on the devices; the root tree's root as asked for, or from the
// superblock, else from its backups, else from a scan of the metadata; then roots of subvolumes and of the
// checksum tree that the root tree lost or that cannot be read, from the same scan; then, by the checksums,
// the order of stripes of data chunks whose items are lost. All trees are tolerant (tree/damage.h) and take
// blocks of another generation than expected where there is no better one.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "btrfs/file/data.h"
#include "btrfs/tool/restore/chunk_recovery.h"
#include "btrfs/tool/restore/root_candidates.h"
#include "btrfs/tree/filesystem.h"

namespace karst::btrfs {

struct DamagedOpenOptions {
  VolumeOptions volume;
  // Which root tree; none: the newest that is usable.
  std::optional<int> backup_root;
  std::optional<uint64_t> tree_location;  // its root's address
  std::optional<uint64_t> generation;
  // The root block of one subvolume, whatever the root tree says.
  std::optional<uint64_t> fs_location;
  uint64_t subvolume = id::fs_tree;
  bool ignore_checksums = false;  // also of tree blocks and superblocks
  bool replay_log = true;
  CancelToken cancel;
  ProgressRef progress;
};

class DamagedImage {
 public:
  static Result<std::unique_ptr<DamagedImage>> open(std::vector<std::unique_ptr<block::Device>> devices,
                                                    const DamagedOpenOptions& options, cache::Cache& cache,
                                                    const Logger& log);

  const Filesystem& fs() const { return *fs_; }
  DataCache& data() const { return *data_; }
  const Damage& damage() const { return damage_; }
  // Where the root tree is, and how it was found: "the superblock", "backup 2", "a scan of the metadata" …
  const BlockPointer& root() const { return root_; }
  const std::string& root_source() const { return root_source_; }
  // Not the last commit's, and not asked for.
  bool root_is_stand_in() const { return root_is_stand_in_; }
  // Roots that stand in for lost ones; their contents may be those of an older generation.
  const std::map<uint64_t, Root>& recovered_roots() const { return recovered_; }
  // There is a log left by a crash and it could not be used.
  bool log_is_unused() const { return log_is_unused_; }

 private:
  friend class DamagedOpener;
  DamagedImage() = default;
  Damage damage_;
  std::unique_ptr<Filesystem> fs_;
  std::unique_ptr<DataCache> data_;
  BlockPointer root_;
  std::string root_source_;
  std::map<uint64_t, Root> recovered_;
  bool root_is_stand_in_ = false;
  bool log_is_unused_ = false;
};

// The superblock and the chunk map alone, as good as they can be had; for those who look for roots.
struct DamagedVolume {
  std::unique_ptr<Volume> volume;
  std::vector<UnorderedChunk> unordered;  // chunks of data that are not in the map yet
};
Result<DamagedVolume> open_damaged_volume(std::vector<std::unique_ptr<block::Device>> devices,
                                          const DamagedOpenOptions& options, cache::Cache& cache,
                                          Damage& damage, const Logger& log);

}  // namespace karst::btrfs

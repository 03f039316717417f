// Compares the space maps of a pool with what is really in use.
//
// In two steps: what space maps are made of is itself in use, so all of it is visited before anything is
// compared.
#pragma once
#include <vector>

#include "thin/format/space_map.h"
#include "thin/tool/tree_scan.h"

namespace karst::thin {

class SpaceCheck {
 public:
  enum class Of { data, metadata };
  SpaceCheck(TreeScan& scan, const SpaceMapRoot& root, Of of) : scan_(scan), root_(root), of_(of) {}

  // Visits index, bitmaps and tree of large counts.
  Result<void> visit();
  // After everything was visited. A count that is too low is fatal, one that is too high a leak.
  Result<void> compare();

  // For repairing: which bitmaps have leaks that can be put right in them, and what the index says of each.
  const std::vector<uint32_t>& leaky_bitmaps() const { return leaky_; }
  const std::vector<IndexEntry>& index() const { return index_; }
  const SpaceMapRoot& root() const { return root_; }
  // Whether nothing but those is wrong.
  bool only_leaks() const { return only_leaks_; }

 private:
  const UseCounts& uses() const { return of_ == Of::data ? scan_.data_uses() : scan_.metadata_uses(); }
  const char* name() const { return of_ == Of::data ? "data" : "metadata"; }
  Result<void> visit_data_index();
  Result<void> visit_metadata_index();
  Result<void> visit_bitmaps();
  void compare_bitmap(uint32_t index, Bytes block);
  void compare_count(uint64_t block, uint32_t recorded, bool in_bitmap, uint32_t index);
  Result<void> compare_large_counts();
  void broken(const FindingKind& kind, std::string text);
  void compare_free(uint64_t really, uint64_t said, const std::string& where);

  TreeScan& scan_;
  const SpaceMapRoot root_;
  const Of of_;
  std::vector<IndexEntry> index_;
  bool usable_ = true;  // there is an index to compare with
  // Found by several threads.
  static constexpr LockClass lock_class{"thin.space-check"};
  Mutex mutex_{lock_class};
  std::vector<uint32_t> leaky_;
  bool only_leaks_ = true;
  uint64_t allocated_ = 0, leaks_ = 0;
  // Which blocks have their count in the tree, as bitmaps and tree say: sums of a hash of each.
  uint64_t large_in_bitmaps_ = 0, large_in_tree_ = 0;
};

}  // namespace karst::thin

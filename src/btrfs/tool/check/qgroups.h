// Quota groups: what they should count against what they count.
//
// Which subvolumes reach a tree block is a set, found from the top down: a block's set is the union of its
// parents'. Equal sets are kept once and known by a number, so the memory is a number for each tree block,
// and one for each data extent of those looked at together (state.memory bounds them; there are as many
// rounds as that needs). With simple quotas the owner is recorded, and the extent tree alone tells.
#pragma once
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

struct QgroupCounts {
  uint64_t id = 0;
  uint64_t rfer = 0, excl = 0;  // as they should be
  uint64_t recorded_rfer = 0, recorded_excl = 0;
  bool differs() const { return rfer != recorded_rfer || excl != recorded_excl; }
};

struct QgroupReport {
  bool enabled = false;
  bool rescanning = false, inconsistent = false;  // differences are expected
  std::vector<QgroupCounts> groups;               // ascending
};

// Whether quotas are on.
bool quotas_enabled(State& state);
// After sum_nodes(). Reports differences that are not expected.
Result<QgroupReport> check_qgroups(State& state);
// "Counts for qgroup id: 0/257 are different" and the numbers below it.
std::string qgroup_text(const QgroupCounts& counts);

}  // namespace karst::btrfs::check

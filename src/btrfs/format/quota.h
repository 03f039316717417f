// Items of the quota tree, and the balance item of the root tree.
// Source: Linux include/uapi/linux/btrfs_tree.h.
#pragma once
#include "btrfs/format/key.h"

namespace karst::btrfs {

namespace qgroup_flag {
constexpr uint64_t on = 1ull << 0;
constexpr uint64_t rescan = 1ull << 1;
constexpr uint64_t inconsistent = 1ull << 2;
constexpr uint64_t simple_mode = 1ull << 3;
}  // namespace qgroup_flag

// A quota group's id: its level in the upper 16 bits, a subvolume or number in the lower 48.
constexpr unsigned qgroup_level_shift = 48;
constexpr uint64_t qgroup_level(uint64_t qgroupid) { return qgroupid >> qgroup_level_shift; }
constexpr uint64_t qgroup_subvolid(uint64_t qgroupid) {
  return qgroupid & ((uint64_t{1} << qgroup_level_shift) - 1);
}

// Key: (0 QGROUP_STATUS 0). enable_gen is there with simple quotas only.
struct QgroupStatusItem {
  le64 version;
  le64 generation;
  le64 flags;
  le64 rescan;
  le64 enable_gen;
};
static_assert(sizeof(QgroupStatusItem) == 40 && Overlay<QgroupStatusItem>);
constexpr size_t qgroup_status_legacy_size = 32;

// Key: (0 QGROUP_INFO qgroupid).
struct QgroupInfoItem {
  le64 generation;
  le64 rfer;
  le64 rfer_cmpr;
  le64 excl;
  le64 excl_cmpr;
};
static_assert(sizeof(QgroupInfoItem) == 40 && Overlay<QgroupInfoItem>);

// Key: (0 QGROUP_LIMIT qgroupid).
struct QgroupLimitItem {
  le64 flags;
  le64 max_rfer;
  le64 max_excl;
  le64 rsv_rfer;
  le64 rsv_excl;
};
static_assert(sizeof(QgroupLimitItem) == 40 && Overlay<QgroupLimitItem>);

struct BalanceArgs {
  le64 profiles;
  le64 usage;  // or usage_min (le32), usage_max (le32)
  le64 devid;
  le64 pstart;
  le64 pend;
  le64 vstart;
  le64 vend;
  le64 target;
  le64 flags;
  le64 limit;  // or limit_min (le32), limit_max (le32)
  le32 stripes_min;
  le32 stripes_max;
  le64 unused[6];
};
static_assert(sizeof(BalanceArgs) == 136 && Overlay<BalanceArgs>);

// Key: (BALANCE TEMPORARY_ITEM 0).
struct BalanceItem {
  le64 flags;
  BalanceArgs data;
  BalanceArgs meta;
  BalanceArgs sys;
  le64 unused[4];
};
static_assert(sizeof(BalanceItem) == 448 && Overlay<BalanceItem>);

}  // namespace karst::btrfs

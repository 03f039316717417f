// The table line of a thin pool: METADATA DATA BLOCK-SECTORS LOW-WATER-BLOCKS [COUNT FEATURE…] (TH-002).
// Source: Linux drivers/md/dm-thin.c (pool_ctr, parse_pool_features) and
// Documentation/admin-guide/device-mapper/thin-provisioning.rst.
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace karst::thin {

struct PoolFeatures {
  bool read_only = false;
  bool zero_new_blocks = true;     // not skip_block_zeroing
  bool handle_discards = true;     // not ignore_discard
  bool discard_passdown = true;    // not no_discard_passdown
  bool error_if_no_space = false;  // instead of queueing
  bool operator==(const PoolFeatures&) const = default;
};

// COUNT and as many words; empty is none. err::invalid in the kernel's words.
Result<PoolFeatures> parse_features(std::span<const std::string_view> words);
// "1 skip_block_zeroing ", "0 ": as `dmsetup table` ends, in the kernel's order.
std::string features_text(const PoolFeatures& features);

struct PoolTable {
  std::string metadata, data;  // names of devices
  uint32_t block_sectors = 0;
  uint64_t low_water_blocks = 0;
  PoolFeatures features;
};
// The words after "thin-pool". err::invalid in the kernel's words.
Result<PoolTable> parse_pool_table(std::string_view text);
std::string table_text(const PoolTable& table);

// A number as the kernel's kstrtoull reads it: decimal, nothing around it; nothing if it is none.
std::optional<uint64_t> parse_number(std::string_view text);
// At blanks.
std::vector<std::string_view> split_words(std::string_view text);

}  // namespace karst::thin

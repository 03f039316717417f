// Names of the bits of a flags field, as tables.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace karst::btrfs {

struct FlagName {
  uint64_t bit;
  const char* name;
};

// The bits of `flags` that the table does not name.
uint64_t unnamed_flags(std::span<const FlagName> table, uint64_t flags);
// The names in the table's order, then "UNKNOWN_0x…" with what remains.
std::vector<std::string> flag_names(std::span<const FlagName> table, uint64_t flags);

}  // namespace karst::btrfs

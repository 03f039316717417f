#include "btrfs/format/flag_names.h"

#include <fmt/format.h>

namespace karst::btrfs {

uint64_t unnamed_flags(std::span<const FlagName> table, uint64_t flags) {
  for (const FlagName& entry : table) flags &= ~entry.bit;
  return flags;
}

std::vector<std::string> flag_names(std::span<const FlagName> table, uint64_t flags) {
  std::vector<std::string> names;
  for (const FlagName& entry : table)
    if (flags & entry.bit) names.emplace_back(entry.name);
  if (uint64_t unknown = unnamed_flags(table, flags)) names.push_back(fmt::format("UNKNOWN_0x{:x}", unknown));
  return names;
}

}  // namespace karst::btrfs

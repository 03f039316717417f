#include "btrfs/format/print_item.h"

#include <ctime>

namespace karst::btrfs {

std::string local_date(int64_t seconds) {
  time_t time = seconds;
  struct tm broken_down {};
  char text[64];
  if (!localtime_r(&time, &broken_down)) return "invalid";
  return {text, strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &broken_down)};
}

// Seconds before 1970 are printed as an unsigned number, as the stock tool does.
void print_time(Facts& facts, const char* name, const Timespec& time) {
  facts.print("\t\t{} {}.{} ({})\n", name, static_cast<uint64_t>(time.seconds.value()),
              time.nanoseconds.value(), facts.is_text() ? local_date(time.seconds) : std::string());
  facts.object(name).also(fact("seconds", time.seconds), fact("nanoseconds", time.nanoseconds));
}

std::string flags_text(std::span<const FlagName> table, uint64_t flags) {
  std::string out;
  for (const FlagName& entry : table)
    if (flags & entry.bit) (out += out.empty() ? "" : "|") += entry.name;
  if (uint64_t unknown = unnamed_flags(table, flags))
    out += fmt::format("{}UNKNOWN: 0x{:x}", out.empty() ? "" : "|", unknown);
  return out;
}

}  // namespace karst::btrfs

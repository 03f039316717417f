#include "btrfs/tool/check/findings.h"

#include <fmt/format.h>

#include <algorithm>

namespace karst::btrfs::check {

void Report::phase(const std::string& title) {
  MutexLock lock(mutex_);
  receiver_.phase(title);
}

void Report::add(const FindingKind& kind, std::string text,
                 std::vector<std::pair<const char*, uint64_t>> places) {
  auto& total = kind.severity == Severity::problem ? problems_ : warnings_;
  total.fetch_add(1, std::memory_order_relaxed);
  MutexLock lock(mutex_);
  auto count =
      std::find_if(counts_.begin(), counts_.end(), [&](auto& entry) { return entry.first == &kind; });
  if (count == counts_.end()) count = counts_.insert(counts_.end(), {&kind, 0});
  if (++count->second > listed_max) return;
  receiver_.finding({kind, std::move(text), std::move(places)});
}

void Report::add(const FindingKind& kind, const Error& error) { add(kind, error.message()); }

void Report::finish() {
  MutexLock lock(mutex_);
  for (const auto& [kind, count] : counts_) {
    if (count <= listed_max) continue;
    receiver_.finding(
        {finding::not_listed,
         fmt::format("{} more findings of kind {} are not listed", count - listed_max, kind->id),
         {}});
  }
}

}  // namespace karst::btrfs::check

#include "thin/tool/findings.h"

#include <fmt/format.h>

namespace karst::thin {

void Findings::add(const FindingKind& kind, std::string text) {
  MutexLock lock(mutex_);
  Seen& seen = seen_.try_emplace(kind.id, Seen{kind.severity}).first->second;
  if (++seen.number <= most_) tell_({kind, std::move(text)});
}

void Findings::finish() {
  MutexLock lock(mutex_);
  for (const auto& [id, seen] : seen_)
    if (seen.number > most_)
      tell_({finding::more, fmt::format("{} more findings of the kind {}", seen.number - most_, id)});
}

uint64_t Findings::count(Severity severity) const {
  MutexLock lock(mutex_);
  uint64_t number = 0;
  for (const auto& [id, seen] : seen_)
    if (seen.severity == severity) number += seen.number;
  return number;
}

uint64_t Findings::count(const FindingKind& kind) const {
  MutexLock lock(mutex_);
  const auto seen = seen_.find(kind.id);
  return seen == seen_.end() ? 0 : seen->second.number;
}

}  // namespace karst::thin

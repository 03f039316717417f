#include "btrfs/tool/build/raw_groups.h"

#include "core/sorted_run.h"

namespace karst::btrfs::build {

RawGroups::RawGroups(const ExternalSorter& raw, const ExternalSorter* resolved) : raw_(raw.reader()) {
  if (resolved) links_.emplace(resolved->reader());
}

Result<bool> RawGroups::next_path() {
  if (!started_) {
    started_ = true;
    more_ = TRY(raw_.next());
  } else {
    while (TRY(next_record())) {
    }
  }
  if (!more_) return false;
  const Bytes place = view_key(raw_.key()).place;
  path_.assign(place.begin(), place.end());
  at_first_ = true;
  return true;
}

Result<bool> RawGroups::next_record() {
  if (at_first_) {
    at_first_ = false;
    return true;
  }
  if (!more_) return false;
  // The record after the last one of a path stays the current one until next_path().
  if (compare_keys(view_key(raw_.key()).place, path_) != 0) return false;
  more_ = TRY(raw_.next());
  return more_ && compare_keys(view_key(raw_.key()).place, path_) == 0;
}

Result<std::optional<Bytes>> RawGroups::resolved() {
  while (links_ && links_more_) {
    const int order = links_->key().empty() ? -1 : compare_keys(links_->key(), raw_.key());
    if (order == 0) return std::optional(links_->value());
    if (order > 0) break;
    links_more_ = TRY(links_->next());
  }
  return std::optional<Bytes>();
}

}  // namespace karst::btrfs::build

#include "btrfs/tree/tree.h"

#include <utility>

namespace karst::btrfs {

// A step that fails leaves the cursor nowhere: base_ has let go of its leaf.
Result<bool> Cursor::seek(const Key& key) {
  valid_ = false;
  bool found = TRY(base_.seek(key));
  if (!overlay_) return valid_ = found;
  layer_ = overlay_->lower_bound(key);
  return merge();
}

// Takes the smaller of the two positions; the overlay wins on equal keys, and its hidden keys are skipped.
Result<bool> Cursor::merge() {
  while (layer_ != overlay_->end()) {
    if (base_.valid() && base_.key() < layer_->first) break;
    if (base_.valid() && base_.key() == layer_->first) TRY(base_.next());
    if (layer_->second) {
      from_overlay_ = true;
      return valid_ = true;
    }
    ++layer_;
  }
  from_overlay_ = false;
  return valid_ = base_.valid();
}

Result<bool> Cursor::next() {
  if (!std::exchange(valid_, false)) return false;
  if (!overlay_) return valid_ = TRY(base_.next());
  if (from_overlay_)
    ++layer_;
  else
    TRY(base_.next());
  return merge();
}

Result<bool> Cursor::seek_back(const Key& key) {
  valid_ = false;
  if (!overlay_) return valid_ = TRY(base_.seek_back(key));
  // The overlay may hide what lies just before, so each candidate below is looked at in turn.
  Key below = key;
  for (;;) {
    bool in_base = TRY(base_.seek_back(below));
    auto above = overlay_->upper_bound(below);
    bool in_layer = above != overlay_->begin();
    if (!in_base && !in_layer) return valid_ = false;
    auto candidate = in_layer ? std::prev(above) : above;
    bool base_wins = in_base && (!in_layer || base_.key() > candidate->first);
    if (base_wins || candidate->second) return seek(base_wins ? Key(base_.key()) : candidate->first);
    if (candidate->first == Key::min()) return valid_ = false;
    below = candidate->first.predecessor();
  }
}

Result<bool> Cursor::find(const Key& key) { return TRY(seek(key)) && this->key() == key; }

Result<bool> Cursor::next_of(uint64_t objectid, ItemType type) {
  return TRY(next()) && key().objectid == objectid && key().type == type;
}

}  // namespace karst::btrfs

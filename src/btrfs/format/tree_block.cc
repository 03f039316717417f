#include "btrfs/format/tree_block.h"

namespace karst::btrfs {
namespace {

// Items and pointers both begin with their key, so one search serves both.
template <typename Entry>
uint32_t first_not_less(const std::byte* entries, uint32_t count, const Key& key) {
  uint32_t low = 0;
  while (count > 0) {
    uint32_t half = count / 2;
    const auto& entry = *reinterpret_cast<const Entry*>(entries + (low + half) * sizeof(Entry));
    if (entry.key.key() < key) {
      low += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  return low;
}

}  // namespace

uint32_t TreeBlock::lower_bound(const Key& key) const {
  const std::byte* entries = bytes_.data() + sizeof(Header);
  return is_leaf() ? first_not_less<Item>(entries, nritems(), key)
                   : first_not_less<KeyPtr>(entries, nritems(), key);
}

uint32_t TreeBlock::child_slot(const Key& key) const {
  uint32_t slot = lower_bound(key);
  if (slot < nritems() && this->key(slot) == key) return slot;
  return slot == 0 ? 0 : slot - 1;
}

}  // namespace karst::btrfs

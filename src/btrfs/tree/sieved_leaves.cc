#include "btrfs/tree/sieved_leaves.h"

namespace karst::btrfs {
namespace {

// Closes the gaps among the items' heads; their data stays where it is.
void take_out(MutableBytes leaf, const std::vector<InvalidItem>& invalid) {
  auto& header = *reinterpret_cast<Header*>(leaf.data());
  auto* items = reinterpret_cast<Item*>(leaf.data() + sizeof(Header));
  uint32_t kept = 0;
  auto next = invalid.begin();
  for (uint32_t slot = 0; slot < header.nritems; ++slot) {
    if (next != invalid.end() && next->slot == slot)
      ++next;
    else
      items[kept++] = items[slot];
  }
  header.nritems = kept;
}

}  // namespace

Result<void> SievedLeaves::sieve(MutableBytes bytes, const Geometry& geometry) {
  const TreeBlock leaf{Bytes(bytes)};
  const auto invalid = TRY(find_invalid_items(leaf, geometry));
  if (invalid.empty()) return {};
  auto sieved = std::make_shared<SievedLeaf>();
  sieved->first_key = leaf.key(0);
  for (const InvalidItem& item : invalid) sieved->left_out.push_back({leaf.key(item.slot), item.kind});
  {
    MutexLock lock(mutex_);
    auto& known = leaves_[leaf.bytenr()];
    const size_t before = known ? known->left_out.size() : 0;
    if (items_ - before + invalid.size() > items_max)
      return Error(karst::err::corrupt, "too many leaves have invalid items").at("block", leaf.bytenr());
    items_ += invalid.size() - before;
    known = std::move(sieved);
  }
  any_.store(true, std::memory_order_release);
  take_out(bytes, invalid);
  return {};
}

std::shared_ptr<const SievedLeaf> SievedLeaves::find(uint64_t bytenr) const {
  if (!any_.load(std::memory_order_acquire)) return nullptr;
  MutexLock lock(mutex_);
  auto found = leaves_.find(bytenr);
  return found == leaves_.end() ? nullptr : found->second;
}

}  // namespace karst::btrfs

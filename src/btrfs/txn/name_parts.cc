#include "btrfs/txn/name_parts.h"

#include "btrfs/format/header.h"

namespace karst::btrfs {

Result<void> cut_from_item(ItemStore& store, const Key& key, uint64_t offset, uint64_t size) {
  auto item = TRY(store.find(key));
  if (!item || !slice(item->data, offset, size))
    return Error(err::item_conflict, "no such part of an item").at("key", key);
  if (size == item->data.size()) return store.erase(key);
  std::vector<std::byte> rest(item->data.begin(), item->data.end());
  auto from = rest.begin() + static_cast<ptrdiff_t>(offset);
  rest.erase(from, from + static_cast<ptrdiff_t>(size));
  return store.replace(key, rest);
}

Result<bool> append_to_item(ItemStore& store, const Key& key, Bytes bytes) {
  auto item = TRY(store.find(key));
  if (!item) {
    TRY(store.insert(key, bytes));
    return true;
  }
  if (bytes.size() > store.item_size_max() || item->data.size() > store.item_size_max() - bytes.size())
    return false;
  std::vector<std::byte> longer(item->data.begin(), item->data.end());
  longer.insert(longer.end(), bytes.begin(), bytes.end());
  TRY(store.replace(key, longer));
  return true;
}

}  // namespace karst::btrfs

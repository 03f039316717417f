#include "btrfs/txn/item_store.h"

#include "btrfs/format/header.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_conflict{"item-conflict", &karst::err::corrupt, EUCLEAN};
}

namespace {

Tree without_overlay(Tree tree) {
  tree.overlay = nullptr;
  return tree;
}

Tree with_overlay(Tree tree, const ItemOverlay* overlay) {
  tree.overlay = overlay;
  return tree;
}

}  // namespace

Result<void> ItemStore::put(const Key& key, Bytes data) {
  if (TRY(find(key))) return replace(key, data);
  return insert(key, data);
}

std::optional<StoredItem> TreeReader::current() const { return StoredItem{cursor_.key(), cursor_.data()}; }

Result<std::optional<StoredItem>> TreeReader::find(const Key& key) {
  if (!TRY(cursor_.find(key))) return std::optional<StoredItem>();
  return current();
}

Result<std::optional<StoredItem>> TreeReader::seek(const Key& key) {
  if (!TRY(cursor_.seek(key))) return std::optional<StoredItem>();
  return current();
}

Result<std::optional<StoredItem>> TreeReader::seek_back(const Key& key) {
  if (!TRY(cursor_.seek_back(key))) return std::optional<StoredItem>();
  return current();
}

OverlayStore::OverlayStore(const Tree& base, uint32_t nodesize)
    : overlay_(std::make_unique<ItemOverlay>()),
      base_(without_overlay(base)),
      merged_(with_overlay(base, overlay_.get())),
      item_size_max_(nodesize - sizeof(Header) - sizeof(Item)) {}

// Not through the merged view: where many items are hidden, that one passes all of them to find the next.
Result<std::optional<StoredItem>> OverlayStore::find(const Key& key) {
  auto change = overlay_->find(key);
  if (change == overlay_->end()) return base_.find(key);
  if (!change->second) return std::optional<StoredItem>();
  return std::optional(StoredItem{key, *change->second});
}

Result<void> OverlayStore::insert(const Key& key, Bytes data) {
  if (TRY(find(key))) return Error(err::item_conflict, "there is such an item already").at("key", key);
  overlay_->insert_or_assign(key, std::vector(data.begin(), data.end()));
  return {};
}

Result<void> OverlayStore::replace(const Key& key, Bytes data) {
  if (!TRY(find(key))) return Error(err::item_conflict, "no such item").at("key", key);
  overlay_->insert_or_assign(key, std::vector(data.begin(), data.end()));
  return {};
}

Result<void> OverlayStore::erase(const Key& key) {
  if (!TRY(find(key))) return Error(err::item_conflict, "no such item").at("key", key);
  if (TRY(base_.find(key)))
    overlay_->insert_or_assign(key, std::nullopt);
  else
    overlay_->erase(key);
  return {};
}

}  // namespace karst::btrfs

// Items in key order that can be changed: what a log is replayed into.
//
// The replay knows its trees only through these two interfaces. Here they are a tree's blocks, and a tree
// with an overlay that collects the changes; for a transaction that writes they will be the tree itself. Not
// thread-safe.
#pragma once
#include <memory>
#include <optional>

#include "btrfs/tree/tree.h"

namespace karst::btrfs {

namespace err {
extern const ErrorKind
    item_conflict;  // child of corrupt: an item to insert is there, or one to change is not
}

// One item. Its data is borrowed until the reader or store is used again.
struct StoredItem {
  Key key;
  Bytes data;
};

class ItemReader {
 public:
  virtual ~ItemReader() = default;
  // The item with exactly this key.
  virtual Result<std::optional<StoredItem>> find(const Key& key) = 0;
  // The first item whose key is not less than `key`.
  virtual Result<std::optional<StoredItem>> seek(const Key& key) = 0;
  // The last item whose key is not greater than `key`.
  virtual Result<std::optional<StoredItem>> seek_back(const Key& key) = 0;
};

class ItemStore : public ItemReader {
 public:
  // item_conflict if there is such an item, or for the next two if there is none: whoever changes items has
  // looked at them, so trees contradict each other then. The data may not be borrowed from the store.
  virtual Result<void> insert(const Key& key, Bytes data) = 0;
  virtual Result<void> replace(const Key& key, Bytes data) = 0;
  virtual Result<void> erase(const Key& key) = 0;
  // The biggest data that an item can have.
  virtual uint32_t item_size_max() const = 0;

  // Inserts or replaces.
  Result<void> put(const Key& key, Bytes data);
};

// A tree as it is.
class TreeReader final : public ItemReader {
 public:
  explicit TreeReader(const Tree& tree) : cursor_(tree) {}
  Result<std::optional<StoredItem>> find(const Key& key) override;
  Result<std::optional<StoredItem>> seek(const Key& key) override;
  Result<std::optional<StoredItem>> seek_back(const Key& key) override;

 private:
  std::optional<StoredItem> current() const;
  Cursor cursor_;
};

// A tree whose changes are collected in an overlay, in memory in proportion to the items changed.
class OverlayStore final : public ItemStore {
 public:
  OverlayStore(const Tree& base, uint32_t nodesize);
  Result<std::optional<StoredItem>> find(const Key& key) override;
  Result<std::optional<StoredItem>> seek(const Key& key) override { return merged_.seek(key); }
  Result<std::optional<StoredItem>> seek_back(const Key& key) override { return merged_.seek_back(key); }
  Result<void> insert(const Key& key, Bytes data) override;
  Result<void> replace(const Key& key, Bytes data) override;
  Result<void> erase(const Key& key) override;
  uint32_t item_size_max() const override { return item_size_max_; }

  // The changes; ends the store's life.
  std::unique_ptr<ItemOverlay> take_overlay() && { return std::move(overlay_); }

 private:
  std::unique_ptr<ItemOverlay> overlay_;
  TreeReader base_, merged_;
  uint32_t item_size_max_;
};

}  // namespace karst::btrfs

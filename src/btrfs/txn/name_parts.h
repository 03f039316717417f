// Items that pack several heads, each followed by its name (and value): DIR_ITEM, DIR_INDEX and XATTR_ITEM,
// INODE_REF, INODE_EXTREF.
#pragma once
#include <optional>
#include <string_view>
#include <type_traits>
#include <vector>

#include "btrfs/format/inode.h"
#include "btrfs/txn/item_store.h"

namespace karst::btrfs {

// One head with its name; the name is borrowed from the item.
template <typename Head>
struct NamePart {
  Head head;
  std::string_view name;
  uint64_t offset;  // in the item
  uint64_t size;    // of head, name and value

  uint64_t end() const { return offset + size; }
};

// The part that begins at `offset`; nothing at the item's end, or where the part does not fit.
template <typename Head>
std::optional<NamePart<Head>> part_at(Bytes item, uint64_t offset = 0) {
  const auto* head = overlay<Head>(item, offset);
  if (!head) return std::nullopt;
  uint64_t rest = head->name_len;
  if constexpr (std::is_same_v<Head, DirItem>) rest += head->data_len;
  auto tail = slice(item, offset + sizeof(Head), rest);
  if (!tail) return std::nullopt;
  return NamePart<Head>{*head, as_text(tail->first(head->name_len)), offset, sizeof(Head) + rest};
}

// The first part for which `matches` holds.
template <typename Head, typename Predicate>
std::optional<NamePart<Head>> find_part(Bytes item, Predicate matches) {
  for (auto part = part_at<Head>(item); part; part = part_at<Head>(item, part->end()))
    if (matches(*part)) return part;
  return std::nullopt;
}

template <typename Head>
std::optional<NamePart<Head>> find_name(Bytes item, std::string_view name) {
  return find_part<Head>(item, [&](const NamePart<Head>& part) { return part.name == name; });
}

// Takes bytes out of an item, and the item with its last bytes.
Result<void> cut_from_item(ItemStore& store, const Key& key, uint64_t offset, uint64_t size);
// Adds bytes to the end of an item, or makes the item. False if it would become too big.
Result<bool> append_to_item(ItemStore& store, const Key& key, Bytes bytes);

// A head and its name, as they stand in an item.
template <typename Head>
std::vector<std::byte> packed(const Head& head, std::string_view name) {
  Bytes front = bytes_of(head), back = as_bytes(name);
  std::vector<std::byte> bytes(front.begin(), front.end());
  bytes.insert(bytes.end(), back.begin(), back.end());
  return bytes;
}

}  // namespace karst::btrfs

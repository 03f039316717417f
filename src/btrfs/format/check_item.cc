#include "btrfs/format/check_item.h"

#include "btrfs/format/inode.h"
#include "btrfs/format/item_table.h"
#include "btrfs/format/object_ids.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_invalid{"item-invalid", &karst::err::corrupt, EUCLEAN};
const ErrorKind item_inode_missing{"item-inode-missing", &item_invalid, EUCLEAN};
const ErrorKind item_name{"item-name", &item_invalid, EUCLEAN};
}  // namespace err

namespace {

// A word of eight bytes has a zero byte: the classic test by borrow, exact as to whether there is one.
bool has_zero_byte(uint64_t word) {
  return ((word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull) != 0;
}

// Every name is looked at on every read of its leaf, hence eight bytes a step.
bool has_slash_or_nul(std::string_view name) {
  constexpr uint64_t slashes = 0x2f2f2f2f2f2f2f2full;
  while (name.size() >= 8) {
    uint64_t word;
    std::memcpy(&word, name.data(), 8);
    if (has_zero_byte(word) || has_zero_byte(word ^ slashes)) return true;
    name.remove_prefix(8);
  }
  return std::any_of(name.begin(), name.end(), [](char c) { return c == '\0' || c == '/'; });
}

}  // namespace

Error item_error(const ErrorKind& kind, const ItemView& item, std::string_view what, std::string expected,
                 std::string found) {
  Error error =
      Error(kind, std::string(what)).expected(expected, found).at("slot", item.slot).at("key", item.key);
  std::string description = describe_item(item.key);
  if (description.empty()) return error;
  return std::move(error).at("item", description);
}

Result<void> check_follows_inode(const ItemView& item) {
  if (item.slot == 0 || !is_subvolume(item.leaf.owner())) return {};
  uint64_t before = item.leaf.item(item.slot - 1).key.objectid;
  if (before == item.key.objectid) [[likely]]
    return {};
  return invalid_item(err::item_inode_missing, item, "no inode item before the items of an inode",
                      item.key.objectid, before);
}

Result<void> check_name(const ItemView& item, std::string_view name) {
  const char* what = nullptr;
  if (name.empty() || name.size() > max_name_length)
    what = "name of an invalid length";
  else if (name == "." || name == "..")
    what = "name is reserved";
  else if (has_slash_or_nul(name))
    what = "name with a slash or NUL byte";
  if (!what) [[likely]]
    return {};
  return invalid_item(err::item_name, item, what, "a file name of 1 to 255 bytes",
                      fmt::format("{} bytes", name.size()));
}

}  // namespace karst::btrfs

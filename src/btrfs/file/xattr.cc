#include "btrfs/file/xattr.h"

#include "btrfs/format/inode.h"

namespace karst::btrfs {
namespace {

struct Attribute {
  std::string_view name;
  Bytes value;
};

// Takes the next attribute off the front of an item; nullopt at its end.
std::optional<Attribute> take(Bytes& item) {
  const auto* head = overlay<DirItem>(item);
  if (!head) return std::nullopt;
  auto name = slice(item, sizeof(DirItem), head->name_len);
  auto value = slice(item, sizeof(DirItem) + uint64_t{head->name_len}, head->data_len);
  if (!name || !value) return std::nullopt;
  item = item.subspan(sizeof(DirItem) + name->size() + value->size());
  return Attribute{as_text(*name), *value};
}

}  // namespace

Result<void> for_each_xattr(Cursor& cursor, uint64_t inode,
                            FunctionRef<Result<void>(std::string_view, Bytes)> visit) {
  TRY(cursor.seek({inode, ItemType::xattr_item, 0}));
  while (cursor.valid() && cursor.key().objectid == inode && cursor.key().type == ItemType::xattr_item) {
    Bytes item = cursor.data();
    while (auto attribute = take(item)) TRY(visit(attribute->name, attribute->value));
    TRY(cursor.next());
  }
  return {};
}

Result<Bytes> read_xattr(Cursor& cursor, uint64_t inode, std::string_view name) {
  if (TRY(cursor.find({inode, ItemType::xattr_item, name_hash(name)}))) {
    Bytes item = cursor.data();
    while (auto attribute = take(item))
      if (attribute->name == name) return attribute->value;
  }
  return Error(karst::err::no_attribute, "no such attribute").at("inode", inode).at("name", name);
}

}  // namespace karst::btrfs

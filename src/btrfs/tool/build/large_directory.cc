#include "btrfs/tool/build/large_directory.h"

#include "btrfs/tool/build/paths.h"

namespace karst::btrfs::build {
namespace {

struct ItemKey {
  uint8_t type;
  be64 offset;  // of the item's key
  be64 index;   // the order of names with one hash
};
static_assert(Overlay<ItemKey>);

}  // namespace

Result<void> LargeDirectory::add(const Child& child) {
  const std::string item = directory_entry(child, generation_);
  const ItemKey hashed{static_cast<uint8_t>(ItemType::dir_item), name_hash(child.name), child.index};
  const ItemKey indexed{static_cast<uint8_t>(ItemType::dir_index), child.index, 0};
  TRY(items_.add(bytes_of(hashed), as_bytes(item)));
  return items_.add(bytes_of(indexed), as_bytes(item));
}

Result<void> LargeDirectory::for_each(const Geometry& geometry,
                                      FunctionRef<Result<void>(const Key&, Bytes)> each) {
  TRY(items_.finish());
  Key key;
  std::string item;
  auto give = [&]() -> Result<void> {
    if (item.empty()) return {};
    TRY(check_hashed_item(item.size(), geometry).context([this] { return "/" + shown_path(path_); }));
    return each(key, as_bytes(item));
  };
  for (auto reader = items_.reader(); TRY(reader.next());) {
    const auto& found = *overlay<ItemKey>(reader.key());
    const Key next{number_, static_cast<ItemType>(found.type), found.offset};
    if (next != key) {
      TRY(give());
      item.clear();
      key = next;
    }
    item += as_text(reader.value());
  }
  return give();
}

}  // namespace karst::btrfs::build

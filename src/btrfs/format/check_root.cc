#include "btrfs/format/check_item.h"
#include "btrfs/format/item_functions.h"
#include "btrfs/format/object_ids.h"
#include "btrfs/format/root.h"

namespace karst::btrfs {
namespace err {
const ErrorKind item_root{"item-root", &item_invalid, EUCLEAN};
const ErrorKind item_root_ref{"item-root-ref", &item_invalid, EUCLEAN};
}  // namespace err

namespace {

const ErrorKind& kind = err::item_root;

Result<void> check_root_key(const ItemView& item) {
  if (item.key.objectid == 0) [[unlikely]]
    return invalid_item(kind, item, "root of no tree", "a tree", 0);
  // Older kernels relocated the data relocation tree's blocks as well.
  bool relocatable = is_subvolume(item.key.offset) || item.key.offset == id::data_reloc_tree;
  if (item.key.objectid == id::tree_reloc && !relocatable) [[unlikely]]
    return invalid_item(kind, item, "relocation of something other than a subvolume", "a subvolume",
                        item.key.offset);
  return {};
}

}  // namespace

Result<void> check_root_item(const ItemView& item, LeafCheck&) {
  TRY(check_root_key(item));
  if (item.data.size() != sizeof(RootItem) && item.data.size() != root_item_legacy_size) [[unlikely]]
    return invalid_item(kind, item, "root item of the wrong size",
                        fmt::format("{} or {}", sizeof(RootItem), root_item_legacy_size), item.data.size());
  RootItem root{};
  std::memcpy(&root, item.data.data(), item.data.size());
  TRY(check_generation(kind, item, "root of a future transaction", root.generation));
  TRY(check_generation(kind, item, "root of a future transaction (generation_v2)", root.generation_v2));
  TRY(check_generation(kind, item, "snapshot in a future transaction", root.last_snapshot));
  TRY(check_aligned(kind, item, "root block not aligned", root.bytenr));
  if (root.level >= max_level || root.drop_level >= max_level) [[unlikely]]
    return invalid_item(kind, item, "level too big", "0 to 7",
                        fmt::format("level {}, drop_level {}", root.level, root.drop_level));
  if (has_valid_flags(item.key.objectid, root) &&
      (root.flags & ~(root_flag::readonly | root_flag::dead)) != 0) [[unlikely]]
    return invalid_item(kind, item, "unknown root flags",
                        fmt::format("within 0x{:x}", root_flag::readonly | root_flag::dead),
                        fmt::format("0x{:x}", root.flags.value()));
  return {};
}

Result<void> check_root_ref(const ItemView& item, LeafCheck&) {
  const auto* ref = item.get<RootRef>();
  if (!ref || item.data.size() - sizeof(RootRef) != ref->name_len) [[unlikely]]
    return invalid_item(err::item_root_ref, item, "name reaches past the item, or the item past it",
                        fmt::format("{} bytes and a name", sizeof(RootRef)), item.data.size());
  return check_name(item, as_text(item.data.subspan(sizeof(RootRef))));
}

}  // namespace karst::btrfs

#include "btrfs/format/backref.h"
#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {
namespace {

constexpr FlagName extent_flags[] = {
    {extent_flag::data, "DATA"},
    {extent_flag::tree_block, "TREE_BLOCK"},
    {extent_flag::full_backref, "FULL_BACKREF"},
};

// Unlike elsewhere, unknown bits have no word, and FULL_BACKREF always has its bar.
std::string extent_flags_text(uint64_t flags) {
  std::string out = flags & extent_flag::data ? "DATA" : "";
  if (flags & extent_flag::tree_block) out += out.empty() ? "TREE_BLOCK" : "|TREE_BLOCK";
  if (flags & extent_flag::full_backref) out += "|FULL_BACKREF";
  return out;
}

void print_reference(const InlineReference& ref, Facts facts) {
  // The tab is missing, and a t too many, in the stock tool's text of an owner.
  facts.print("{}({} 0x{:x}) ", ref.type == ItemType::extent_owner_ref ? "\t" : "\t\t",
              fact("type", static_cast<uint8_t>(ref.type)), fact("sequence", ref.sequence));
  facts.also(fact("type_name", item_type_name(ref.type)));
  switch (ref.type) {
    case ItemType::tree_block_ref:
      facts.print("tree block backref root {}\n", root_name(ref.root));
      facts.also(fact("root", ref.root));
      return;
    case ItemType::shared_block_ref:
      facts.print("shared block backref parent {}\n", fact("parent", ref.offset));
      return;
    case ItemType::extent_data_ref:
      facts.print("extent data backref root {} objectid {} offset {} count {}\n", root_name(ref.root),
                  fact("objectid", ref.objectid), fact("offset", ref.file_offset), fact("count", ref.count));
      facts.also(fact("root", ref.root));
      return;
    case ItemType::shared_data_ref:
      facts.print("shared data backref parent {} count {}\n", fact("parent", ref.offset),
                  fact("count", ref.count));
      return;
    default: facts.print("textent owner root {}\n", fact("root", ref.root)); return;
  }
}

// What is between the item's head and its references; the bytes up to there, 0 if they are not all there.
uint64_t print_tree_block_info(const ItemView& item, uint64_t flags, Facts& facts) {
  if (item.key.type == ItemType::metadata_item) {
    facts.print("\t\ttree block skinny level {}\n", fact("level", static_cast<int32_t>(item.key.offset)));
    return sizeof(ExtentItem);
  }
  if (!(flags & extent_flag::tree_block)) return sizeof(ExtentItem);
  const auto* info = struct_of<TreeBlockInfo>(item, facts, sizeof(ExtentItem));
  if (!info) return 0;
  facts.print("\t\ttree block key ");
  facts.key("first_key", info->key.key());
  facts.print(" level {}\n", fact("level", info->level));
  return sizeof(ExtentItem) + sizeof(TreeBlockInfo);
}

}  // namespace

void print_extent_item(const ItemView& item, Facts& facts) {
  const auto* extent = struct_of<ExtentItem>(item, facts);
  if (!extent) return;
  facts.print("\t\trefs {} gen {} flags {}\n", fact("refs", extent->refs),
              fact("generation", extent->generation), extent_flags_text(extent->flags));
  facts.also(fact("flags", extent->flags), fact("flag_names", flag_names(extent_flags, extent->flags)));
  uint64_t at = print_tree_block_info(item, extent->flags, facts);
  if (at == 0) return;
  facts.array("references");
  while (at < item.data.size()) {
    auto ref = read_inline_ref(item.data.subspan(at));
    if (!ref) return facts.invalid(fmt::format("no reference at {} of the item", at));
    print_reference(*ref, facts.element("references"));
    at += ref->size;
  }
}

}  // namespace karst::btrfs

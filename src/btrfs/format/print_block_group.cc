#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {

void print_block_group_item(const ItemView& item, Facts& facts) {
  const auto* group = struct_of<BlockGroupItem>(item, facts);
  if (!group) return;
  facts.print("\t\tblock group used {} chunk_objectid {} flags {}\n", fact("used", group->used),
              fact("chunk_objectid", group->chunk_objectid),
              fact("flag_names", block_group_flags_text(group->flags)));
  facts.also(fact("flags", group->flags));
}

}  // namespace karst::btrfs

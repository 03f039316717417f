#include "btrfs/format/extent.h"
#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {

// Type 0 is used by the version 1 cache only.
void print_free_space_header(const ItemView& item, Facts& facts) {
  if (item.key.objectid != id::free_space) return;
  const auto* header = struct_of<FreeSpaceHeader>(item, facts);
  if (!header) return;
  facts.print("\t\tlocation key ");
  facts.key("location", header->location.key());
  facts.print("\n");
  facts.print("\t\tcache generation {} entries {} bitmaps {}\n", fact("cache_generation", header->generation),
              fact("entries", header->num_entries), fact("bitmaps", header->num_bitmaps));
}

void print_free_space_info(const ItemView& item, Facts& facts) {
  if (const auto* info = struct_of<FreeSpaceInfo>(item, facts))
    facts.print("\t\tfree space info extent count {} flags {}\n", fact("extent_count", info->extent_count),
                fact("flags", info->flags));
}

void print_free_space_extent(const ItemView&, Facts& facts) { facts.print("\t\tfree space extent\n"); }
void print_free_space_bitmap(const ItemView&, Facts& facts) { facts.print("\t\tfree space bitmap\n"); }

}  // namespace karst::btrfs

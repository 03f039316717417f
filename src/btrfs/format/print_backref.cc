#include "btrfs/format/extent.h"
#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {

void print_tree_block_ref(const ItemView&, Facts& facts) { facts.print("\t\ttree block backref\n"); }
void print_shared_block_ref(const ItemView&, Facts& facts) { facts.print("\t\tshared block backref\n"); }
void print_extent_ref_v0(const ItemView&, Facts& facts) { facts.print("\t\textent ref v0 (deprecated)\n"); }

void print_extent_data_ref(const ItemView& item, Facts& facts) {
  const auto* ref = struct_of<ExtentDataRef>(item, facts);
  if (!ref) return;
  facts.print("\t\textent data backref root {} objectid {} offset {} count {}\n", root_name(ref->root),
              fact("objectid", ref->objectid), fact("offset", ref->offset), fact("count", ref->count));
  facts.also(fact("root", ref->root));
}

void print_shared_data_ref(const ItemView& item, Facts& facts) {
  if (const auto* ref = struct_of<SharedDataRef>(item, facts))
    facts.print("\t\tshared data backref count {}\n", fact("count", ref->count));
}

void print_extent_owner_ref(const ItemView& item, Facts& facts) {
  if (const auto* ref = struct_of<ExtentOwnerRef>(item, facts))
    facts.print("\t\textent owner root {}\n", fact("root", ref->root_id));
}

}  // namespace karst::btrfs

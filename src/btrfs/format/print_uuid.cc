#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {

void print_uuid_item(const ItemView& item, Facts& facts) {
  if (item.data.size() % sizeof(le64) != 0) {
    facts.print("btrfs: uuid item with illegal size {}!\n", item.data.size());
    facts.also(fact("invalid", fmt::format("uuid item with illegal size {}", item.data.size())));
    return;
  }
  facts.array("subvolumes");
  for (uint64_t at = 0; at < item.data.size(); at += sizeof(le64))
    facts.element("subvolumes").print("\t\tsubvol_id {}\n", fact("id", *item.get<le64>(at)));
}

void print_string_item(const ItemView& item, Facts& facts) {
  facts.plain_bytes("data", "\t\titem data ", as_text(item.data));
}

}  // namespace karst::btrfs

// Every item type's functions, in one table: how it is checked, printed, and called in errors.
#pragma once
#include "btrfs/format/key.h"
#include "core/result.h"

namespace karst::btrfs {

struct ItemView;
struct LeafCheck;
class Facts;

// Whether an item's contents are sound; everything that a reader relies on.
using CheckFunction = Result<void>(const ItemView& item, LeafCheck& state);
// Its contents as text in dump-tree's words and as JSON. Safe on items that have not been checked.
using PrintFunction = void(const ItemView& item, Facts& facts);

struct ItemRow {
  CheckFunction* check = nullptr;  // none: nothing that could be wrong, or unknown
  PrintFunction* print = nullptr;  // none: nothing in it
  const char* description = "";    // with {objectid} and {offset} of the key: "inode {objectid}"
};

// The row of a type; an empty one for types that this program does not know, which are carried through.
const ItemRow& item_row(ItemType type);
// The item in words, for errors: "directory entry of inode 256"; empty if there are none.
std::string describe_item(const Key& key);

}  // namespace karst::btrfs

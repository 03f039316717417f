#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {
namespace {

std::string type_text(uint8_t type) {
  switch (FileType(type)) {
    case FileType::regular: return "FILE";
    case FileType::directory: return "DIR";
    case FileType::character: return "CHRDEV";
    case FileType::block: return "BLKDEV";
    case FileType::fifo: return "FIFO";
    case FileType::socket: return "SOCK";
    case FileType::symlink: return "SYMLINK";
    case FileType::xattr: return "XATTR";
    default: return fmt::format("DIR_ITEM.{}", type);
  }
}

}  // namespace

void print_dir_item(const ItemView& item, Facts& facts) {
  facts.array("entries");
  for (uint64_t at = 0; at < item.data.size();) {
    const auto* entry = struct_of<DirItem>(item, facts, at);
    if (!entry) return;
    uint64_t name_len = entry->name_len, data_len = entry->data_len;
    uint8_t type = entry->type & static_cast<uint8_t>(~file_type_encrypted);
    Facts out = facts.element("entries");
    out.print("\t\tlocation key ");
    out.key("location", entry->location.key());
    out.print(" type {}\n", fact("type_name", type_text(type)));
    out.also(fact("type", entry->type));
    auto text = slice(item.data, at + sizeof(DirItem), name_len + data_len);
    if (!text) {
      facts.invalid(fmt::format("name of {} and data of {} bytes reach past the item", name_len, data_len));
      return;
    }
    out.print("\t\ttransid {} data_len {} name_len {}\n", fact("transid", entry->transid), data_len,
              name_len);
    out.bytes("name", "\t\tname: ", "\t\tname: HIDDEN", as_text(text->first(name_len)));
    if (data_len > 0) out.bytes("data", "\t\tdata ", "\t\tdata HIDDEN", as_text(text->subspan(name_len)));
    at += sizeof(DirItem) + name_len + data_len;
  }
}

}  // namespace karst::btrfs

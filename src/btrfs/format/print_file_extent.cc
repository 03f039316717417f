#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {
namespace {

const char* type_text(uint8_t type) {
  switch (FileExtentType(type)) {
    case FileExtentType::inline_data: return "inline";
    case FileExtentType::regular: return "regular";
    case FileExtentType::prealloc: return "prealloc";
  }
  return "unknown";
}

std::string compression_text(uint8_t compression) {
  switch (Compression(compression)) {
    case Compression::none: return "none";
    case Compression::zlib: return "zlib";
    case Compression::lzo: return "lzo";
    case Compression::zstd: return "zstd";
  }
  return fmt::format("UNKNOWN.{}", compression);
}

void print_regular(const FileExtent& extent, Facts& facts) {
  bool is_prealloc = FileExtentType(extent.head.type) == FileExtentType::prealloc;
  const char* word = is_prealloc ? "prealloc" : "extent";
  facts.print("\t\t{} data disk byte {} nr {}\n", word, fact("disk_bytenr", extent.disk_bytenr),
              fact("disk_num_bytes", extent.disk_num_bytes));
  facts.print("\t\t{} data offset {} nr {}", word, fact("offset", extent.offset),
              fact("num_bytes", extent.num_bytes));
  if (is_prealloc) {
    facts.print("\n");
    facts.also(fact("ram_bytes", extent.head.ram_bytes));
    return;
  }
  facts.print(" ram {}\n", fact("ram_bytes", extent.head.ram_bytes));
  facts.print("\t\textent compression {} ({})\n", fact("compression", extent.head.compression),
              fact("compression_name", compression_text(extent.head.compression)));
}

}  // namespace

void print_file_extent(const ItemView& item, Facts& facts) {
  const auto* head = struct_of<FileExtentHead>(item, facts);
  if (!head) return;
  facts.print("\t\tgeneration {} type {} ({})\n", fact("generation", head->generation),
              fact("type", head->type), fact("type_name", std::string(type_text(head->type))));
  if (FileExtentType(head->type) == FileExtentType::inline_data) {
    facts.print("\t\tinline extent data size {} ram_bytes {} compression {} ({})\n",
                fact("inline_size", item.data.size() - sizeof(FileExtentHead)),
                fact("ram_bytes", head->ram_bytes), fact("compression", head->compression),
                fact("compression_name", compression_text(head->compression)));
  } else if (const auto* extent = struct_of<FileExtent>(item, facts)) {
    print_regular(*extent, facts);
  }
}

}  // namespace karst::btrfs

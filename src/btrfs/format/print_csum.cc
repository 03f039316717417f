#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {
namespace {

void append_hex(std::string& out, Bytes bytes) {
  for (std::byte byte : bytes)
    fmt::format_to(std::back_inserter(out), "{:02x}", std::to_integer<unsigned>(byte));
}

// Lines of up to four checksums, "[address] 0x…"; as JSON an array.
void print_checksums(const ItemView& item, Facts& facts) {
  uint32_t one = item.geometry.checksum_size;
  size_t per_line = std::max<size_t>(1, checksum_field_size / one / 2);
  std::vector<std::string> all;
  size_t count = item.data.size() / one;
  for (size_t i = 0; i < count; ++i) {
    std::string text = "0x";
    append_hex(text, item.data.subspan(i * one, one));
    facts.print("{}[{}] {}",
                i == 0              ? "\t\t"
                : i % per_line == 0 ? "\n\t\t"
                                    : " ",
                item.key.offset + i * item.geometry.sectorsize, text);
    if (!facts.is_text()) all.push_back(std::move(text));
  }
  facts.print("\n");
  facts.also(fact("checksums", std::move(all)));
}

}  // namespace

void print_csum_item(const ItemView& item, Facts& facts) {
  if (item.geometry.checksum_size == 0) return;
  uint64_t length = item.data.size() / item.geometry.checksum_size * item.geometry.sectorsize;
  facts.print("\t\trange start {} end {} length {}\n", fact("start", item.key.offset),
              fact("end", item.key.offset + length), fact("length", length));
  if (facts.options().csum_items) print_checksums(item, facts);
}

void print_old_csum_item(const ItemView&, Facts& facts) { facts.print("\t\tcsum item\n"); }

}  // namespace karst::btrfs

#include <nlohmann/json.hpp>

#include "btrfs/format/facts.h"
#include "btrfs/format/flag_names.h"
#include "btrfs/format/item_table.h"
#include "btrfs/format/item_view.h"
#include "btrfs/format/print.h"

namespace karst::btrfs {
namespace {

constexpr FlagName header_flags[] = {{header_flag_written, "WRITTEN"}, {header_flag_reloc, "RELOC"}};
constexpr uint64_t header_flags_mask = (uint64_t{1} << header_backref_rev_shift) - 1;

// Negative in a broken leaf. Source: Linux fs/btrfs/ctree.c, btrfs_leaf_free_space().
int64_t leaf_free_space(const TreeBlock& leaf) {
  int64_t space = int64_t{leaf.nodesize()} - int64_t{sizeof(Header)};
  uint32_t count = leaf.nritems();
  if (count == 0) return space;
  const Item& first = leaf.item(0);
  const Item& last = leaf.item(count - 1);
  int64_t data = int64_t{first.offset} + int64_t{first.size} - int64_t{last.offset};
  return space - data - int64_t{count} * int64_t{sizeof(Item)};
}

std::string header_checksum(const TreeBlock& block, const Geometry& geometry) {
  Checksum checksum;
  std::memcpy(&checksum, block.header().checksum, sizeof checksum);
  return checksum.text(geometry.checksum_type);
}

std::string header_flags_text(uint64_t flags) {
  std::string out = flags & header_flag_written ? "WRITTEN" : "";
  if (flags & header_flag_reloc) out += out.empty() ? "RELOC" : "|RELOC";
  return out;
}

void print_header(const TreeBlock& block, const Geometry& geometry, Facts& facts) {
  const Header& header = block.header();
  const char* word = block.is_leaf() ? "leaf" : "node";
  if (block.is_leaf())
    facts.print("leaf {} items {} free space {} generation {} owner ", fact("bytenr", header.bytenr),
                fact("items_count", header.nritems), fact("free_space", leaf_free_space(block)),
                fact("generation", header.generation));
  else
    facts.print("node {} level {} items {} free space {} generation {} owner ", fact("bytenr", header.bytenr),
                header.level, fact("items_count", header.nritems),
                fact("free_space", max_key_ptrs(block.nodesize()) - header.nritems),
                fact("generation", header.generation));
  facts.print("{}\n", fact("owner_name", root_name(header.owner)));
  facts.also(fact("owner", header.owner), fact("level", header.level));
  uint64_t flags = header.flags & header_flags_mask;
  facts.print(
      "{} {} flags 0x{:x}({}) backref revision {}{}\n", word, header.bytenr.value(), fact("flags", flags),
      header_flags_text(flags), fact("backref_revision", header.flags >> header_backref_rev_shift),
      facts.options().csum_headers && facts.is_text() ? " csum " + header_checksum(block, geometry) : "");
  facts.also(fact("flag_names", flag_names(header_flags, flags)));
  if (facts.options().csum_headers) facts.also(fact("checksum", header_checksum(block, geometry)));
  facts.print("fs uuid {}\nchunk uuid {}\n", fact("fsid", header.fsid),
              fact("chunk_tree_uuid", header.chunk_tree_uuid));
}

// False if the item's bytes are not in the leaf; then nothing after it can be trusted.
bool print_item(const TreeBlock& leaf, const Geometry& geometry, uint32_t slot, Facts& facts) {
  const Item& item = leaf.item(slot);
  uint32_t limit = leaf.nodesize() - sizeof(Header);
  if (item.offset > limit || item.size > limit - item.offset) {
    std::string what = fmt::format("leaf {} slot {} pointer invalid, offset {} size {} leaf data limit {}",
                                   leaf.bytenr(), slot, item.offset.value(), item.size.value(), limit);
    facts.print("ERROR: {}\nERROR: skip remaining slots\n", what);
    facts.also(fact("invalid", what));
    return false;
  }
  ItemView view{leaf, geometry, slot, item.key.key(), leaf.item_data(slot)};
  Facts out = facts.element("items");
  out.print("\titem {} key ", slot);
  out.key("key", view.key);
  out.print(" itemoff {} itemsize {}\n", fact("item_offset", item.offset), fact("item_size", item.size));
  if (PrintFunction* print = item_row(view.key.type).print) print(view, out);
  return true;
}

void print_pointer(const KeyPtr& pointer, Facts& facts) {
  Facts out = facts.element("children");
  out.print("\tkey ");
  out.key("key", pointer.key.key());
  out.print(" block {} gen {}\n", fact("block", pointer.blockptr), fact("generation", pointer.generation));
}

template <typename Step>
void print_contents(const TreeBlock& block, const Geometry& geometry, Facts& facts, Step step) {
  print_header(block, geometry, facts);
  facts.array(block.is_leaf() ? "items" : "children");
  for (uint32_t slot = 0; slot < block.nritems(); ++slot) {
    if (!block.is_leaf())
      print_pointer(block.key_ptr(slot), facts);
    else if (!print_item(block, geometry, slot, facts))
      break;
    step();
  }
}

}  // namespace

void print_block(const TreeBlock& block, const Geometry& geometry, const PrintOptions& options, Sink sink) {
  constexpr size_t enough = 32 << 10;  // a leaf of checksums printed in full is a megabyte of text
  std::string text;
  Facts facts(text, options);
  print_contents(block, geometry, facts, [&] {
    if (text.size() < enough) return;
    sink(text);
    text.clear();
  });
  sink(text);
}

nlohmann::ordered_json block_to_json(const TreeBlock& block, const Geometry& geometry,
                                     const PrintOptions& options) {
  auto object = nlohmann::ordered_json::object();
  Facts facts(object, options);
  print_contents(block, geometry, facts, [] {});
  return object;
}

}  // namespace karst::btrfs

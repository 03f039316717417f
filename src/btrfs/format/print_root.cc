#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"
#include "btrfs/format/root.h"

namespace karst::btrfs {
namespace {

void print_ref(const ItemView& item, Facts& facts, const char* word) {
  const auto* ref = struct_of<RootRef>(item, facts);
  if (!ref) return;
  facts.print("\t\troot {} key dirid {} sequence {} name ", word, fact("dirid", ref->dirid),
              fact("sequence", ref->sequence));
  auto name = slice(item.data, sizeof(RootRef), ref->name_len);
  if (name) {
    facts.plain_bytes("name", "", as_text(*name));
  } else {
    facts.print("\n");
    facts.invalid(fmt::format("name of {} bytes reaches past the item", ref->name_len.value()));
  }
}

}  // namespace

// An item from before Linux 3.6 counts as having zeroes where it ends early.
void print_root_item(const ItemView& item, Facts& facts) {
  if (item.data.size() < root_item_legacy_size) return facts.invalid("root item too small");
  RootItem root{};
  std::memcpy(&root, item.data.data(), std::min(item.data.size(), sizeof root));
  facts.print("\t\tgeneration {} root_dirid {} bytenr {} byte_limit {} bytes_used {}\n",
              fact("generation", root.generation), fact("root_dirid", root.root_dirid),
              fact("bytenr", root.bytenr), fact("byte_limit", root.byte_limit),
              fact("bytes_used", root.bytes_used));
  facts.print("\t\tlast_snapshot {} flags 0x{:x}({}) refs {}\n", fact("last_snapshot", root.last_snapshot),
              fact("flags", root.flags), root.flags & root_flag::readonly ? "RDONLY" : "none",
              fact("refs", root.refs));
  facts.print("\t\tdrop_progress key ");
  facts.key("drop_progress", root.drop_progress.key());
  facts.print(" drop_level {}\n", fact("drop_level", root.drop_level));
  facts.print("\t\tlevel {} generation_v2 {}\n", fact("level", root.level),
              fact("generation_v2", root.generation_v2));
  if (root.generation != root.generation_v2) return;
  facts.print("\t\tuuid {}\n", fact("uuid", root.uuid));
  facts.print("\t\tparent_uuid {}\n", fact("parent_uuid", root.parent_uuid));
  facts.print("\t\treceived_uuid {}\n", fact("received_uuid", root.received_uuid));
  facts.print("\t\tctransid {} otransid {} stransid {} rtransid {}\n", fact("ctransid", root.ctransid),
              fact("otransid", root.otransid), fact("stransid", root.stransid),
              fact("rtransid", root.rtransid));
  print_time(facts, "ctime", root.ctime);
  print_time(facts, "otime", root.otime);
  print_time(facts, "stime", root.stime);
  print_time(facts, "rtime", root.rtime);
}

void print_root_ref(const ItemView& item, Facts& facts) { print_ref(item, facts, "ref"); }
void print_root_backref(const ItemView& item, Facts& facts) { print_ref(item, facts, "backref"); }

}  // namespace karst::btrfs

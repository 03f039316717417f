#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {
namespace {

constexpr FlagName inode_flags[] = {
    {inode_flag::nodatasum, "NODATASUM"},
    {inode_flag::nodatacow, "NODATACOW"},
    {inode_flag::readonly, "READONLY"},
    {inode_flag::nocompress, "NOCOMPRESS"},
    {inode_flag::prealloc, "PREALLOC"},
    {inode_flag::sync, "SYNC"},
    {inode_flag::immutable, "IMMUTABLE"},
    {inode_flag::append, "APPEND"},
    {inode_flag::nodump, "NODUMP"},
    {inode_flag::noatime, "NOATIME"},
    {inode_flag::dirsync, "DIRSYNC"},
    {inode_flag::compress, "COMPRESS"},
    {inode_flag::root_item_init, "ROOT_ITEM_INIT"},
};

// Names follow each other to the end of the item; false at the first one that is not all there.
template <Overlay Ref>
const Ref* next_ref(const ItemView& item, uint64_t at, std::string_view& name, Facts& facts) {
  const auto* ref = struct_of<Ref>(item, facts, at);
  if (!ref) return nullptr;
  auto bytes = slice(item.data, at + sizeof(Ref), ref->name_len);
  if (!bytes) {
    facts.invalid(fmt::format("name of {} bytes reaches past the item", ref->name_len.value()));
    return nullptr;
  }
  name = as_text(*bytes);
  return ref;
}

}  // namespace

void print_inode_item(const ItemView& item, Facts& facts) {
  const auto* inode = struct_of<InodeItem>(item, facts);
  if (!inode) return;
  facts.print("\t\tgeneration {} transid {} size {} nbytes {}\n", fact("generation", inode->generation),
              fact("transid", inode->transid), fact("size", inode->size), fact("nbytes", inode->nbytes));
  facts.print("\t\tblock group {} mode {:o} links {} uid {} gid {} rdev {}\n",
              fact("block_group", inode->block_group), fact("mode", inode->mode), fact("links", inode->nlink),
              fact("uid", inode->uid), fact("gid", inode->gid), fact("rdev", inode->rdev));
  std::string flags = flags_text(inode_flags, inode->flags);
  facts.print("\t\tsequence {} flags 0x{:x}({})\n", fact("sequence", inode->sequence),
              fact("flags", inode->flags), flags.empty() ? "none" : flags);
  facts.also(fact("flag_names", flag_names(inode_flags, inode->flags)));
  print_time(facts, "atime", inode->atime);
  print_time(facts, "ctime", inode->ctime);
  print_time(facts, "mtime", inode->mtime);
  print_time(facts, "otime", inode->otime);
}

void print_inode_ref(const ItemView& item, Facts& facts) {
  facts.array("names");
  std::string_view name;
  for (uint64_t at = 0; at < item.data.size();) {
    const auto* ref = next_ref<InodeRef>(item, at, name, facts);
    if (!ref) return;
    Facts entry = facts.element("names");
    entry.print("\t\tindex {} namelen {} ", fact("index", ref->index), ref->name_len.value());
    entry.bytes("name", "name: ", "name: HIDDEN", name);
    at += sizeof(InodeRef) + name.size();
  }
}

void print_inode_extref(const ItemView& item, Facts& facts) {
  facts.array("names");
  std::string_view name;
  for (uint64_t at = 0; at < item.data.size();) {
    const auto* ref = next_ref<InodeExtref>(item, at, name, facts);
    if (!ref) return;
    Facts entry = facts.element("names");
    entry.print("\t\tindex {} parent {} namelen {} ", fact("index", ref->index),
                fact("parent", ref->parent_objectid), ref->name_len.value());
    entry.bytes("name", "name: ", "name: HIDDEN", name);
    at += sizeof(InodeExtref) + name.size();
  }
}

void print_orphan_item(const ItemView&, Facts& facts) { facts.print("\t\torphan item\n"); }

void print_dir_log(const ItemView& item, Facts& facts) {
  if (const auto* log = struct_of<DirLogItem>(item, facts))
    facts.print("\t\tdir log end {}\n", fact("end", log->end));
}

}  // namespace karst::btrfs

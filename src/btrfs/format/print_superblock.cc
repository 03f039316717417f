#include <nlohmann/json.hpp>

#include "btrfs/format/facts.h"
#include "btrfs/format/flag_names.h"
#include "btrfs/format/print.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {
namespace {

bool is_printable(char c) { return c >= ' ' && c < '\177'; }

std::string with_dots(std::string_view bytes) {
  std::string out(bytes);
  std::replace_if(
      out.begin(), out.end(), [](char c) { return !is_printable(c); }, '.');
  return out;
}

const char* match_text(bool matches) { return matches ? "[match]" : "[DON'T MATCH]"; }

// Lines of names under a number: "\t\t\t( A |\n\t\t\t  B )\n"; nothing if no bit is set.
void print_flag_lines(std::span<const FlagName> table, uint64_t flags, const char* json_name, Facts& facts) {
  facts.also(fact(json_name, flag_names(table, flags)));
  if (flags == 0) return;
  const char* before = "\t\t\t( ";
  for (const FlagName& entry : table) {
    if (!(flags & entry.bit)) continue;
    facts.print("{}{} ", before, entry.name);
    before = "|\n\t\t\t  ";
  }
  if (uint64_t unknown = unnamed_flags(table, flags)) facts.print("{}unknown flag: 0x{:x} ", before, unknown);
  facts.print(")\n");
}

void print_checksum(const Superblock& super, Facts& facts) {
  auto type = checksum_type_of(super.csum_type);
  bool is_known = type.has_value();
  std::string_view name = is_known ? checksum_name(*type) : "INVALID";
  facts.print("csum_type\t\t{} ({})\n", fact("csum_type", super.csum_type), name);
  facts.print("csum_size\t\t{}\n", fact("csum_size", is_known ? checksum_size(*type) : checksum_field_size));
  Checksum stored;
  std::memcpy(&stored, super.checksum, sizeof stored);
  bool matches = is_known && superblock_checksum_matches(super, *type);
  facts.print("csum\t\t\t{} {}\n", fact("csum", stored.text(is_known ? *type : ChecksumType::sha256)),
              is_known ? match_text(matches) : "[UNKNOWN CSUM TYPE OR SIZE]");
  facts.also(fact("csum_name", name), fact("csum_match", matches));
}

void print_identity(const Superblock& super, Facts& facts) {
  facts.print("bytenr\t\t\t{}\n", fact("bytenr", super.bytenr));
  facts.print("flags\t\t\t0x{:x}\n", fact("flags", super.flags));
  print_flag_lines(super_flag_table(), super.flags, "flag_names", facts);
  facts.print("magic\t\t\t{} {}\n", with_dots(as_text(bytes_of(super.magic))),
              match_text(super.magic == superblock_magic));
  facts.also(fact("magic", super.magic), fact("magic_match", super.magic == superblock_magic));
  facts.print("fsid\t\t\t{}\n", fact("fsid", super.fsid));
  facts.print("metadata_uuid\t\t{}\n", fact("metadata_uuid", super.metadata_uuid));
  std::string_view label(super.label, strnlen(super.label, label_size));
  facts.print("label\t\t\t{}\n", with_dots(label));
  if (!facts.is_text()) facts.bytes("label", "", "", label);
}

void print_roots(const Superblock& super, Facts& facts) {
  facts.print("generation\t\t{}\n", fact("generation", super.generation));
  facts.print("root\t\t\t{}\n", fact("root", super.root));
  facts.print("sys_array_size\t\t{}\n", fact("sys_array_size", super.sys_chunk_array_size));
  facts.print("chunk_root_generation\t{}\n", fact("chunk_root_generation", super.chunk_root_generation));
  facts.print("root_level\t\t{}\n", fact("root_level", super.root_level));
  facts.print("chunk_root\t\t{}\n", fact("chunk_root", super.chunk_root));
  facts.print("chunk_root_level\t{}\n", fact("chunk_root_level", super.chunk_root_level));
  facts.print("log_root\t\t{}\n", fact("log_root", super.log_root));
  facts.print("log_root_transid (deprecated)\t{}\n", fact("log_root_transid", super.log_root_transid));
  facts.print("log_root_level\t\t{}\n", fact("log_root_level", super.log_root_level));
}

void print_sizes(const Superblock& super, Facts& facts) {
  facts.print("total_bytes\t\t{}\n", fact("total_bytes", super.total_bytes));
  facts.print("bytes_used\t\t{}\n", fact("bytes_used", super.bytes_used));
  facts.print("sectorsize\t\t{}\n", fact("sectorsize", super.sectorsize));
  facts.print("nodesize\t\t{}\n", fact("nodesize", super.nodesize));
  facts.print("leafsize (deprecated)\t{}\n", fact("leafsize", super.leafsize));
  facts.print("stripesize\t\t{}\n", fact("stripesize", super.stripesize));
  facts.print("root_dir\t\t{}\n", fact("root_dir", super.root_dir_objectid));
  facts.print("num_devices\t\t{}\n", fact("num_devices", super.num_devices));
}

void print_features(const Superblock& super, Facts& facts) {
  facts.print("compat_flags\t\t0x{:x}\n", fact("compat_flags", super.compat_flags));
  facts.print("compat_ro_flags\t\t0x{:x}\n", fact("compat_ro_flags", super.compat_ro_flags));
  print_flag_lines(compat_ro_table(), super.compat_ro_flags, "compat_ro_flag_names", facts);
  facts.print("incompat_flags\t\t0x{:x}\n", fact("incompat_flags", super.incompat_flags));
  print_flag_lines(incompat_table(), super.incompat_flags, "incompat_flag_names", facts);
  facts.print("cache_generation\t{}\n", fact("cache_generation", super.cache_generation));
  facts.print("uuid_tree_generation\t{}\n", fact("uuid_tree_generation", super.uuid_tree_generation));
}

void print_dev_item(const Superblock& super, Facts facts) {
  const DevItem& item = super.dev_item;
  bool matches = item.fsid == metadata_fsid(super);
  facts.print("dev_item.uuid\t\t{}\n", fact("uuid", item.uuid));
  facts.print("dev_item.fsid\t\t{} {}\n", fact("fsid", item.fsid), match_text(matches));
  facts.also(fact("fsid_match", matches));
  facts.print("dev_item.type\t\t{}\n", fact("type", item.type));
  facts.print("dev_item.total_bytes\t{}\n", fact("total_bytes", item.total_bytes));
  facts.print("dev_item.bytes_used\t{}\n", fact("bytes_used", item.bytes_used));
  facts.print("dev_item.io_align\t{}\n", fact("io_align", item.io_align));
  facts.print("dev_item.io_width\t{}\n", fact("io_width", item.io_width));
  facts.print("dev_item.sector_size\t{}\n", fact("sector_size", item.sector_size));
  facts.print("dev_item.devid\t\t{}\n", fact("devid", item.devid));
  facts.print("dev_item.dev_group\t{}\n", fact("dev_group", item.dev_group));
  facts.print("dev_item.seek_speed\t{}\n", fact("seek_speed", item.seek_speed));
  facts.print("dev_item.bandwidth\t{}\n", fact("bandwidth", item.bandwidth));
  facts.print("dev_item.generation\t{}\n", fact("generation", item.generation));
}

// As far as it can be read; the sizes in it are not trusted.
void print_system_chunks(const Superblock& super, Facts& facts) {
  facts.print("sys_chunk_array[{}]:\n", system_chunk_array_size);
  facts.array("sys_chunk_array");
  auto array = slice(std::as_bytes(std::span(super.sys_chunk_array)), 0, super.sys_chunk_array_size);
  if (!array)
    return facts.invalid(fmt::format("sys_array_size {} shouldn't exceed {} bytes",
                                     super.sys_chunk_array_size.value(), system_chunk_array_size));
  uint64_t at = 0;
  for (int i = 0; at < array->size(); ++i) {
    const auto* key = overlay<DiskKey>(*array, at);
    if (!key) return facts.invalid(fmt::format("sys_array too short to read a key at offset {}", at));
    at += sizeof(DiskKey);
    Facts out = facts.element("sys_chunk_array");
    out.print("\titem {} key ", i);
    out.key("key", key->key());
    out.print("\n");
    if (ItemType(key->type) != ItemType::chunk_item)
      return out.invalid(fmt::format("unexpected item type {} in sys_array at offset {}", key->type, at));
    const auto* chunk = overlay<Chunk>(*array, at);
    uint64_t size = chunk ? sizeof(Chunk) + uint64_t{chunk->num_stripes} * sizeof(Stripe) : 0;
    auto item = chunk ? slice(*array, at, size) : std::nullopt;
    if (!item || chunk->num_stripes == 0)
      return out.invalid(fmt::format("invalid number of stripes in sys_array at offset {}", at));
    print_chunk(*item, out);
    at += size;
  }
}

void print_backup_root(const RootBackup& backup, const char* extent_root_name, Facts facts) {
  auto root = [&facts](const char* text, const char* name, uint64_t bytenr, uint64_t generation,
                       uint8_t level) {
    facts.print("\t\t{}{}\tgen: {}\tlevel: {}\n", text, bytenr, generation, level);
    facts.object(name).also(fact("bytenr", bytenr), fact("generation", generation), fact("level", level));
  };
  root("backup_tree_root:\t", "tree_root", backup.tree_root, backup.tree_root_gen, backup.tree_root_level);
  root("backup_chunk_root:\t", "chunk_root", backup.chunk_root, backup.chunk_root_gen,
       backup.chunk_root_level);
  root(extent_root_name, "extent_root", backup.extent_root, backup.extent_root_gen, backup.extent_root_level);
  root("backup_fs_root:\t\t", "fs_root", backup.fs_root, backup.fs_root_gen, backup.fs_root_level);
  root("backup_dev_root:\t", "dev_root", backup.dev_root, backup.dev_root_gen, backup.dev_root_level);
  root("csum_root:\t", "csum_root", backup.csum_root, backup.csum_root_gen, backup.csum_root_level);
  facts.print("\t\tbackup_total_bytes:\t{}\n", fact("total_bytes", backup.total_bytes));
  facts.print("\t\tbackup_bytes_used:\t{}\n", fact("bytes_used", backup.bytes_used));
  facts.print("\t\tbackup_num_devices:\t{}\n", fact("num_devices", backup.num_devices));
  facts.print("\n");
}

// Slots that were never written are left out.
void print_backup_roots(const Superblock& super, Facts& facts) {
  facts.print("backup_roots[{}]:\n", backup_root_count);
  facts.array("backup_roots");
  const char* extent_root = super.incompat_flags & incompat::extent_tree_v2 ? "backup_block_group_root:\t"
                                                                            : "backup_extent_root:\t";
  for (int i = 0; i < backup_root_count; ++i) {
    const RootBackup& backup = super.super_roots[i];
    if (backup.tree_root == 0 && backup.tree_root_gen == 0) continue;
    Facts out = facts.element("backup_roots");
    out.print("\tbackup {}:\n", fact("slot", i));
    print_backup_root(backup, extent_root, out);
  }
}

void print_all(const Superblock& super, bool full, Facts facts) {
  print_checksum(super, facts);
  print_identity(super, facts);
  print_roots(super, facts);
  print_sizes(super, facts);
  print_features(super, facts);
  print_dev_item(super, facts.object("dev_item"));
  if (!full) return;
  print_system_chunks(super, facts);
  print_backup_roots(super, facts);
}

}  // namespace

void print_superblock(const Superblock& super, bool full, Sink sink) {
  std::string text;
  PrintOptions options;
  print_all(super, full, Facts(text, options));
  sink(text);
}

nlohmann::ordered_json superblock_to_json(const Superblock& super, bool full) {
  auto object = nlohmann::ordered_json::object();
  PrintOptions options;
  print_all(super, full, Facts(object, options));
  return object;
}

}  // namespace karst::btrfs

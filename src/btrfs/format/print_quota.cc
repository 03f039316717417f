#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"
#include "btrfs/format/quota.h"

namespace karst::btrfs {
namespace {

std::string status_text(uint64_t flags) {
  std::string out = flags & qgroup_flag::on ? "ON" : "OFF";
  if (flags & qgroup_flag::simple_mode) out += "|SIMPLE_MODE";
  if (flags & qgroup_flag::rescan) out += "|SCANNING";
  if (flags & qgroup_flag::inconsistent) out += "|INCONSISTENT";
  constexpr uint64_t known =
      qgroup_flag::on | qgroup_flag::rescan | qgroup_flag::inconsistent | qgroup_flag::simple_mode;
  if (flags & ~known) out += fmt::format("|UNKNOWN(0x{:x})", flags & ~known);
  return out;
}

// usage and limit are single numbers or a range of two 32-bit ones, depending on the flags.
void print_balance_args(const char* name, const char* json_name, const BalanceArgs& args, Facts& parent) {
  parent.print("\t\t{}\n", name);
  Facts facts = parent.object(json_name);
  auto low = [](uint64_t pair) { return static_cast<uint32_t>(pair); };
  auto high = [](uint64_t pair) { return static_cast<uint32_t>(pair >> 32); };
  facts.print("\t\tprofiles {} devid {} target {} flags {}\n", fact("profiles", args.profiles),
              fact("devid", args.devid), fact("target", args.target), fact("flags", args.flags));
  facts.print("\t\tusage_min {} usage_max {} pstart {} pend {}\n", fact("usage_min", low(args.usage)),
              fact("usage_max", high(args.usage)), fact("pstart", args.pstart), fact("pend", args.pend));
  facts.print("\t\tvstart {} vend {} limit_min {} limit_max {}\n", fact("vstart", args.vstart),
              fact("vend", args.vend), fact("limit_min", low(args.limit)),
              fact("limit_max", high(args.limit)));
  facts.print("\t\tstripes_min {} stripes_max {}\n", fact("stripes_min", args.stripes_min),
              fact("stripes_max", args.stripes_max));
}

void print_balance(const ItemView& item, Facts& facts) {
  const auto* balance = struct_of<BalanceItem>(item, facts);
  if (!balance) return;
  facts.print("\t\tbalance status flags {}\n", fact("flags", balance->flags));
  print_balance_args("DATA", "data", balance->data, facts);
  print_balance_args("METADATA", "metadata", balance->meta, facts);
  print_balance_args("SYSTEM", "system", balance->sys, facts);
}

void print_csum_change(const ItemView& item, Facts& facts) {
  auto type = item.key.offset <= UINT16_MAX ? checksum_type_of(static_cast<uint16_t>(item.key.offset))
                                            : checksum_type_of(UINT16_MAX);
  if (type)
    facts.print("\t\ttarget csum type {} ({})\n", fact("target", checksum_name(*type)), item.key.offset);
  else
    facts.print("\t\tunknown csum type {}\n", item.key.offset);
}

}  // namespace

void print_qgroup_status(const ItemView& item, Facts& facts) {
  QgroupStatusItem status{};
  if (item.data.size() < qgroup_status_legacy_size) return facts.invalid("quota status too small");
  std::memcpy(&status, item.data.data(), std::min(item.data.size(), sizeof status));
  facts.print("\t\tversion {} generation {} flags {} scan {}", fact("version", status.version),
              fact("generation", status.generation), fact("flag_names", status_text(status.flags)),
              fact("scan", status.rescan));
  facts.also(fact("flags", status.flags));
  if (item.geometry.has(incompat::simple_quota))
    facts.print(" enable_gen {}", fact("enable_generation", status.enable_gen));
  facts.print("\n");
}

void print_qgroup_info(const ItemView& item, Facts& facts) {
  const auto* info = struct_of<QgroupInfoItem>(item, facts);
  if (!info) return;
  facts.print("\t\tgeneration {}\n", fact("generation", info->generation));
  facts.print("\t\treferenced {} referenced_compressed {}\n", fact("referenced", info->rfer),
              fact("referenced_compressed", info->rfer_cmpr));
  facts.print("\t\texclusive {} exclusive_compressed {}\n", fact("exclusive", info->excl),
              fact("exclusive_compressed", info->excl_cmpr));
}

// The limits are printed as signed numbers.
void print_qgroup_limit(const ItemView& item, Facts& facts) {
  const auto* limit = struct_of<QgroupLimitItem>(item, facts);
  if (!limit) return;
  facts.print("\t\tflags {:x}\n", fact("flags", limit->flags));
  facts.print("\t\tmax_referenced {} max_exclusive {}\n", static_cast<int64_t>(limit->max_rfer),
              static_cast<int64_t>(limit->max_excl));
  facts.print("\t\trsv_referenced {} rsv_exclusive {}\n", static_cast<int64_t>(limit->rsv_rfer),
              static_cast<int64_t>(limit->rsv_excl));
  facts.also(fact("max_referenced", limit->max_rfer), fact("max_exclusive", limit->max_excl),
             fact("reserved_referenced", limit->rsv_rfer), fact("reserved_exclusive", limit->rsv_excl));
}

void print_temporary_item(const ItemView& item, Facts& facts) {
  facts.print("\t\ttemporary item objectid {} offset {}\n", objectid_name(item.key.objectid, item.key.type),
              item.key.offset);
  if (item.key.objectid == id::balance)
    print_balance(item, facts);
  else if (item.key.objectid == id::csum_change)
    print_csum_change(item, facts);
  else
    facts.print("\t\tunknown temporary item objectid {}\n", item.key.objectid);
}

}  // namespace karst::btrfs

#include "btrfs/format/item_functions.h"
#include "btrfs/format/print_item.h"

namespace karst::btrfs {
namespace {

constexpr size_t known_stats = sizeof(DevStatsItem) / sizeof(le64);

// Values that an older kernel did not write count as 0.
void print_dev_stats(const ItemView& item, Facts& facts) {
  DevStatsItem stats{};
  std::memcpy(&stats, item.data.data(), std::min(item.data.size(), sizeof stats));
  facts.print("\t\tdevice stats\n");
  facts.print("\t\twrite_errs {} read_errs {} flush_errs {} corruption_errs {} generation {}\n",
              fact("write_errors", stats.values[0]), fact("read_errors", stats.values[1]),
              fact("flush_errors", stats.values[2]), fact("corruption_errors", stats.values[3]),
              fact("generation_errors", stats.values[4]));
  if (item.data.size() <= sizeof stats) return;
  facts.print("\t\tunknown stats item bytes {}", item.data.size() - sizeof stats);
  for (size_t i = known_stats; (i + 1) * sizeof(le64) <= item.data.size(); ++i)
    facts.element("unknown").print("\t\tunknown item {} offset {} value {}\n", fact("item", i),
                                   fact("offset", i * sizeof(le64)),
                                   fact("value", *item.get<le64>(i * sizeof(le64))));
}

std::string replace_mode_text(uint64_t mode) {
  switch (mode) {
    case 0: return "ALWAYS";
    case 1: return "AVOID";
    default: return fmt::format("unknown({})", mode);
  }
}

std::string replace_state_text(uint64_t state) {
  switch (state) {
    case 0: return "NEVER_STARTED";
    case 1: return "STARTED";
    case 2: return "FINISHED";
    case 3: return "CANCELED";
    case 4: return "SUSPENDED";
    default: return fmt::format("unknown({})", state);
  }
}

}  // namespace

void print_device(const DevItem& device, Facts& facts) {
  facts.print("\t\tdevid {} total_bytes {} bytes_used {}\n", fact("devid", device.devid),
              fact("total_bytes", device.total_bytes), fact("bytes_used", device.bytes_used));
  facts.print("\t\tio_align {} io_width {} sector_size {} type {}\n", fact("io_align", device.io_align),
              fact("io_width", device.io_width), fact("sector_size", device.sector_size),
              fact("type", device.type));
  facts.print("\t\tgeneration {} start_offset {} dev_group {}\n", fact("generation", device.generation),
              fact("start_offset", device.start_offset), fact("dev_group", device.dev_group));
  facts.print("\t\tseek_speed {} bandwidth {}\n", fact("seek_speed", device.seek_speed),
              fact("bandwidth", device.bandwidth));
  facts.print("\t\tuuid {}\n", fact("uuid", device.uuid));
  facts.print("\t\tfsid {}\n", fact("fsid", device.fsid));
}

void print_dev_item(const ItemView& item, Facts& facts) {
  if (const auto* device = struct_of<DevItem>(item, facts)) print_device(*device, facts);
}

void print_dev_extent(const ItemView& item, Facts& facts) {
  const auto* extent = struct_of<DevExtent>(item, facts);
  if (!extent) return;
  facts.print("\t\tdev extent chunk_tree {}\n", fact("chunk_tree", extent->chunk_tree));
  facts.print("\t\tchunk_objectid {} chunk_offset {} length {}\n",
              fact("chunk_objectid", extent->chunk_objectid), fact("chunk_offset", extent->chunk_offset),
              fact("length", extent->length));
  facts.print("\t\tchunk_tree_uuid {}\n", fact("chunk_tree_uuid", extent->chunk_tree_uuid));
}

void print_persistent_item(const ItemView& item, Facts& facts) {
  facts.print("\t\tpersistent item objectid {} offset {}\n", objectid_name(item.key.objectid, item.key.type),
              item.key.offset);
  if (item.key.objectid == id::dev_stats)
    print_dev_stats(item, facts);
  else
    facts.print("\t\tunknown persistent item objectid {}\n", item.key.objectid);
}

// The stop time is the start time again in the stock tool; here it is the stop time.
void print_dev_replace(const ItemView& item, Facts& facts) {
  const auto* replace = struct_of<DevReplaceItem>(item, facts);
  if (!replace) return;
  facts.print("\t\tsrc devid {} cursor left {} cursor right {} mode {}\n",
              fact("source_devid", static_cast<int64_t>(replace->src_devid)),
              fact("cursor_left", replace->cursor_left), fact("cursor_right", replace->cursor_right),
              fact("mode", replace_mode_text(replace->cont_reading_from_srcdev_mode)));
  facts.print("\t\tstate {} write errors {} uncorrectable read errors {}\n",
              fact("state", replace_state_text(replace->replace_state)),
              fact("write_errors", replace->num_write_errors),
              fact("uncorrectable_read_errors", replace->num_uncorrectable_read_errors));
  facts.print("\t\tstart time {} ({})\n", fact("time_started", replace->time_started),
              local_date(static_cast<int64_t>(replace->time_started.value())));
  facts.print("\t\tstop time {} ({})\n", fact("time_stopped", replace->time_stopped),
              local_date(static_cast<int64_t>(replace->time_stopped.value())));
}

void print_raid_stripe(const ItemView& item, Facts& facts) {
  facts.array("stripes");
  for (uint64_t i = 0; (i + 1) * sizeof(RaidStride) <= item.data.size(); ++i) {
    const auto& stride = *item.get<RaidStride>(i * sizeof(RaidStride));
    facts.element("stripes").print("\t\t\tstripe {} devid {} physical {}\n", i, fact("devid", stride.devid),
                                   fact("physical", stride.physical));
  }
}

void print_remap(const ItemView& item, Facts& facts) {
  if (const auto* address = struct_of<le64>(item, facts))
    facts.print("\t\taddress {}\n", fact("address", *address));
}

}  // namespace karst::btrfs

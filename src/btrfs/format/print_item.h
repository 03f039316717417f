// What printers of items have in common.
#pragma once
#include "btrfs/format/facts.h"
#include "btrfs/format/flag_names.h"
#include "btrfs/format/inode.h"
#include "btrfs/format/item_view.h"

namespace karst::btrfs {

// The item's struct; if the item is too small for it, says so and returns nullptr.
template <Overlay T>
const T* struct_of(const ItemView& item, Facts& facts, uint64_t offset = 0) {
  const T* value = item.get<T>(offset);
  if (!value)
    facts.invalid(fmt::format("item of {} bytes has no {} bytes at {}", item.data.size(), sizeof(T), offset));
  return value;
}

// "\t\tatime 1700000000.5 (2023-11-14 22:13:20)\n", the date in local time.
void print_time(Facts& facts, const char* name, const Timespec& time);
// The date alone, of seconds since 1970; "invalid" for years that no calendar has.
std::string local_date(int64_t seconds);

// "A|B|UNKNOWN: 0x40", or "" if no bit is set.
std::string flags_text(std::span<const FlagName> table, uint64_t flags);

// Whole items made of one struct, also found in the superblock.
void print_chunk(Bytes item, Facts& facts);
void print_device(const DevItem& device, Facts& facts);

}  // namespace karst::btrfs

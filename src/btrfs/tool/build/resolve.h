// Settles an inventory: what was said about each path becomes what is there, numbered, with hard links
// joined.
//
// Everything is a merge of sorted streams:
//
//   raw ──► links to what (resolve_links) ─┐
//   raw ───────────────────────────────────┴─► fold each path, number (settle_paths) ──► entries, totals
//                                                                  names of linked inodes ──► join_links ──►
//                                                                  links
//
// A path counts if its directory is there; the directories of one depth come in the same order as the groups
// of their entries at the next, so a queue of them is all that is needed to know.
#pragma once
#include "btrfs/tool/build/placement.h"
#include "core/external_sorter.h"

namespace karst::btrfs::build {

// Sorters are finished.
struct Settled {
  std::vector<Subvolume> subvolumes;
  ExternalSorter entries;  // settled keys (record.h) and their records
  ExternalSorter totals;   // NumberKey of a directory that has entries; DirectoryTotals
  ExternalSorter links;    // LinkRecordKey; see there
};

struct NumberKey {
  be32 subvolume;
  be64 number;
  std::pair<uint64_t, uint64_t> order() const { return {subvolume.value(), number.value()}; }
  auto operator<=>(const NumberKey& other) const { return order() <=> other.order(); }
  bool operator==(const NumberKey& other) const { return order() == other.order(); }
};

struct DirectoryTotals {
  le64 entries, name_bytes;
};

// About the entry of that number, which has a link key.
enum class LinkTag : uint8_t {
  attributes = 0,    // first name: the record that counts for the inode, if it is another name's
  name = 1,          // first name: one of the inode's names, its own included; LinkName and the name
  another_name = 2,  // it is not the first name; be64 number of the first
};
struct LinkRecordKey {
  NumberKey entry;
  uint8_t tag;
  be64 name_number;  // the number that the name has or would have
};
struct LinkName {
  le64 directory, index;
};
static_assert(Overlay<NumberKey> && Overlay<LinkRecordKey> && Overlay<LinkName> && Overlay<DirectoryTotals>);

// raw is finished. any_links: whether it has records of the kind `link`.
Result<Settled> resolve(const ExternalSorter& raw, bool any_links, const Placement& placement,
                        const InventoryOptions& options, ContentStore* store);

}  // namespace karst::btrfs::build

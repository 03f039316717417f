// Gives each inode with several names all of them at its first name's place.
#pragma once
#include "btrfs/tool/build/record.h"
#include "btrfs/tool/build/resolve.h"

namespace karst::btrfs::build {

// How names with a link key are sorted: those of one inode together, in each subvolume by number.
struct LinkedNameKey {
  be64 source, device, inode;
  be32 subvolume;
  be64 number;  // the name's; or no_name, after all names, for what was last said about a name that is gone

  static constexpr uint64_t no_name = ~uint64_t{0};
  bool same_inode(const LinkedNameKey& other) const {
    return source.value() == other.source.value() && device.value() == other.device.value() &&
           inode.value() == other.inode.value();
  }
};
static_assert(Overlay<LinkedNameKey>);

// The value of a linked name: where it is, the name, and its record, whose origin has its whole path.
void encode_linked_name(RecordBytes& value, const LinkName& place, std::string_view name, Bytes record);

// `names` is finished. Adds inodes and their bytes to the subvolumes. Names in different subvolumes become
// inodes of their own, with a warning. err::source_too_many_links.
Result<ExternalSorter> join_links(const ExternalSorter& names, const InventoryOptions& options,
                                  std::vector<Subvolume>& subvolumes);

}  // namespace karst::btrfs::build

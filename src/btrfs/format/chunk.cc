#include "btrfs/format/chunk.h"

#include <iterator>

namespace karst::btrfs {
namespace {

// clang-format off
constexpr Profile profiles[] = {
    // name     flag                 sub  copies parity tolerated min exact
    {"single",  0,                    1,   1,     0,     0,        1,  1},
    {"RAID0",   block_group::raid0,   1,   1,     0,     0,        1,  0},
    {"RAID1",   block_group::raid1,   1,   2,     0,     1,        2,  2},
    {"DUP",     block_group::dup,     1,   2,     0,     0,        2,  2},
    {"RAID10",  block_group::raid10,  2,   2,     0,     1,        2,  0},
    {"RAID5",   block_group::raid5,   1,   1,     1,     1,        2,  0},
    {"RAID6",   block_group::raid6,   1,   1,     2,     2,        3,  0},
    {"RAID1C3", block_group::raid1c3, 1,   3,     0,     2,        3,  3},
    {"RAID1C4", block_group::raid1c4, 1,   4,     0,     3,        4,  4},
};
// clang-format on

}  // namespace

const Profile* profile_of(uint64_t flags) {
  uint64_t bits = flags & block_group::profile_mask;
  for (const Profile& profile : profiles)
    if (profile.flag == bits) return &profile;
  return nullptr;
}

std::string block_group_flags_text(uint64_t flags) {
  std::string out;
  auto add = [&out](std::string_view word) {
    if (!out.empty()) out += '|';
    out += word;
  };
  if (flags & block_group::data) add("DATA");
  if (flags & block_group::metadata) add("METADATA");
  if (flags & block_group::system) add("SYSTEM");
  if (flags & block_group::metadata_remap) add("METADATA_REMAP");
  // Even where no type precedes it, there is a bar before the profile.
  const Profile* profile = profile_of(flags);
  out += '|';
  out += profile ? profile->name : fmt::format("UNKNOWN.0x{:x}", flags & block_group::profile_mask);
  return out;
}

}  // namespace karst::btrfs

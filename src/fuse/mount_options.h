// The words of `-o` that mounting understands (BT-034).
//
// Three kinds: ours and btrfs's that matter for reading; btrfs's that only matter for writing, which are
// taken and mean nothing here, so that a line of fstab made for the kernel works; and the generic ones of
// mount(8), of which those for the kernel are handed on and those for mount(8) itself are dropped. Anything
// else is an error that names it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace karst::fuse {

struct MountOptions {
  // The image.
  std::vector<std::string> devices;    // device=, as often as needed: beside the one that is mounted
  std::optional<std::string> subvol;   // subvol=
  std::optional<uint64_t> subvolid;    // subvolid=; with subvol= too, both must mean the same
  bool degraded = false;               // go on with member devices missing
  bool replay_log = true;              // norecovery, nologreplay, rescue=nologreplay: false
  std::optional<uint64_t> cache_size;  // cache-size=, bytes
  // The mount.
  bool allow_other = false;               // users other than the one who mounts
  bool default_permissions = false;       // the kernel checks modes and ACLs; allow_other implies it
  bool acl = true;                        // noacl: ACLs are not looked at in those checks
  std::optional<unsigned> threads;        // threads=
  std::optional<std::string> fsname;      // the source that /proc/mounts shows
  std::string subtype = "karst";          // the type there is fuse.SUBTYPE
  std::vector<std::string> kernel_flags;  // "nosuid", "noexec" …, in the order given
};

// Adds what one -o argument says to `options`; later words win. err::invalid names the word that is not
// understood or has a bad value; err::read_only answers "rw".
Result<void> parse_mount_options(std::string_view text, MountOptions& options);

}  // namespace karst::fuse

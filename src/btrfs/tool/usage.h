// How a file system's space is used, by the kinds of its block groups.
#pragma once
#include <vector>

#include "btrfs/tree/filesystem.h"

namespace karst::btrfs {

// The block groups of one type and profile together.
struct SpaceUsage {
  uint64_t flags = 0;  // block_group
  const Profile* profile = nullptr;
  uint64_t total = 0, used = 0;  // logical bytes
  uint64_t device_bytes = 0;     // bytes taken on devices
};

struct DeviceUsage {
  uint64_t devid = 0;
  Uuid uuid{};
  uint64_t size = 0, allocated = 0;
  bool missing = false;
};

struct Usage {
  std::vector<SpaceUsage> spaces;    // data, metadata, system; then by profile
  std::vector<DeviceUsage> devices;  // by id
};

// Looks up one block group item for each chunk; scans nothing.
Result<Usage> measure_usage(const Filesystem& fs);

}  // namespace karst::btrfs

// How much of the data device each thin device has for itself, and how much it shares.
#pragma once
#include <vector>

#include "core/worker_pool.h"
#include "thin/tool/metadata_reader.h"

namespace karst::thin {

struct DeviceUsage {
  DeviceFacts facts;
  uint64_t mapped = 0, shared = 0;  // blocks; shared: another device has them too
  uint64_t exclusive() const { return mapped - shared; }
};

// Each leaf is read twice at most, however many devices share it. Tables of at most `memory` bytes
// (err::limit). Damaged metadata is an error.
Result<std::vector<DeviceUsage>> device_usage(MetadataReader& metadata, WorkerPool& pool, uint64_t memory);

}  // namespace karst::thin

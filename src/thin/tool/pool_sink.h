// What a pool's metadata says, told in the order in which the XML of thin_dump and thin_restore has it:
//
//   begin_pool, then any number of
//     begin_def, map or ref …, end_def            mappings that several devices have
//     begin_device, map or ref …, end_device
//   end_pool
//
// Writers of text, and restoring, take it; readers of metadata and of XML give it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"
#include "thin/format/ids.h"

namespace karst::thin {

struct PoolFacts {
  std::string uuid;
  uint32_t time = 0;
  uint64_t transaction = 0;
  uint32_t flags = 0;
  uint32_t version = 0;
  uint32_t data_block_size = 0;  // sectors
  uint64_t nr_data_blocks = 0;
  std::optional<uint64_t> metadata_snap;  // block
};

struct DeviceFacts {
  DeviceId id = 0;
  uint64_t mapped_blocks = 0;
  uint64_t transaction = 0;
  uint32_t creation_time = 0;
  uint32_t snap_time = 0;
};

// Blocks that follow each other in both places.
struct MappingRun {
  VirtualBlock begin{};
  DataBlock data{};
  uint64_t length = 0;
  uint32_t time = 0;
};

class PoolSink {
 public:
  virtual ~PoolSink() = default;
  virtual Result<void> begin_pool(const PoolFacts& facts) = 0;
  virtual Result<void> begin_def(std::string_view name) = 0;
  virtual Result<void> end_def() = 0;
  virtual Result<void> begin_device(const DeviceFacts& facts) = 0;
  virtual Result<void> end_device() = 0;
  virtual Result<void> map(const MappingRun& run) = 0;
  virtual Result<void> ref(std::string_view name) = 0;
  virtual Result<void> end_pool() = 0;
};

}  // namespace karst::thin

// Makes a pool's metadata from what a PoolSink is told: from XML, or from what repairing finds.
//
// Mappings come in order, so trees are built from the leaves up. Everything is written before the superblock,
// which is what makes it a pool; from begin_pool() until then, and after an error, the device has none.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/device.h"
#include "thin/format/superblock.h"
#include "thin/tool/dump.h"
#include "thin/tool/pool_sink.h"
#include "thin/tool/tree_builder.h"

namespace karst::thin {

class Restorer final : public PoolSink {
 public:
  // The device outlives it. Nothing is written before begin_pool() has accepted the pool.
  static Result<std::unique_ptr<Restorer>> create(block::Device& device, PoolOverrides overrides);
  ~Restorer() override;

  // Errors: err::invalid for what contradicts itself or the format; err::no_space; those of the device. After
  // one nothing more may be told.
  Result<void> begin_pool(const PoolFacts& facts) override;
  Result<void> begin_def(std::string_view name) override;
  Result<void> end_def() override;
  Result<void> begin_device(const DeviceFacts& facts) override;
  Result<void> end_device() override;
  Result<void> map(const MappingRun& run) override;
  Result<void> ref(std::string_view name) override;
  // Durable on return.
  Result<void> end_pool() override;

  struct Report {
    uint64_t devices = 0, mappings = 0;
    uint64_t metadata_blocks = 0;  // used
    // Devices that were said to have another number of mapped blocks; they have the right one now.
    std::vector<DeviceId> wrong_counts;
  };
  const Report& report() const { return report_; }

 private:
  class MappedBlocks;
  Restorer(block::Device& device, PoolOverrides overrides, uint64_t nr_blocks);

  Result<void> begin_section();
  Result<void> check_next(uint64_t first_key);
  Result<void> release_unused_defs();

  block::Device& device_;
  const PoolOverrides overrides_;
  BlockWriter writer_;
  std::unique_ptr<UseCounts> metadata_uses_, data_uses_;
  std::unique_ptr<MappedBlocks> mapped_blocks_;
  PoolFacts facts_;
  std::map<std::string, std::vector<TreeBuilder::Leaf>, std::less<>> defs_;
  struct Device {
    DeviceFacts facts;
    MetadataBlock root{};
  };
  std::map<DeviceId, Device> devices_;
  // Of the device or definition that is being told.
  std::optional<TreeBuilder> builder_;
  std::optional<DeviceFacts> device_facts_;
  std::optional<std::string> def_name_;
  std::optional<uint64_t> last_key_;
  uint64_t mapped_ = 0;
  Report report_;
};

}  // namespace karst::thin

// A pool's metadata opened to be read by a tool: the current state, or the metadata snapshot, which may be
// read while the pool is in use.
//
// Nothing that is read is trusted. Thread-safe.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "block/device.h"
#include "cache/cache.h"
#include "thin/format/superblock.h"
#include "thin/metadata/block_store.h"
#include "thin/metadata/tree_walk.h"
#include "thin/tool/pool_sink.h"

namespace karst::thin {

// Which state of a pool.
struct Reading {
  bool snapshot = false;
  std::optional<MetadataBlock> snapshot_at;  // instead of what the superblock says
};

// Reads and verifies the superblock; or says what is wrong with it, as for check_seal() and
// check_superblock().
Result<std::vector<std::byte>> read_superblock(block::Device& device, MetadataBlock at);

class MetadataReader {
 public:
  // Device and cache outlive it. err::not_found if there is no metadata snapshot.
  static Result<std::unique_ptr<MetadataReader>> open(block::Device& device, cache::Cache& cache,
                                                      const Reading& reading);

  const Superblock& super() const { return *overlay<Superblock>(super_); }
  PoolFacts facts() const;
  BlockStore& store() { return store_; }

  struct Device {
    DeviceFacts facts;
    MetadataBlock root{};  // of its mappings
  };
  // In order. err::device_details if the two trees of devices do not have the same ones.
  Result<std::vector<Device>> devices();
  // err::no_device.
  Result<Device> device(DeviceId id);
  Result<void> walk_mappings(const Device& device, TreeWalk::Visit each);

 private:
  MetadataReader(block::Device& device, cache::Cache& cache, std::vector<std::byte> super,
                 uint64_t nr_data_blocks);
  Result<void> read_roots(KeyRange wanted, std::vector<Device>& devices);
  Result<void> read_details(KeyRange wanted, std::vector<Device>& devices);
  Result<std::vector<Device>> devices_in(KeyRange wanted);

  const std::vector<std::byte> super_;
  const uint64_t nr_data_blocks_;
  BlockStore store_;
};

}  // namespace karst::thin

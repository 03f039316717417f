// The trees and space maps of a pool, as one transaction works on them; made anew when one is given up.
//
// Which tree refers to what: `roots` has each device's tree of mappings, whose leaves have data blocks.
// Locks: those of PoolMetadata.
#pragma once
#include "thin/format/superblock.h"
#include "thin/metadata/btree.h"
#include "thin/metadata/data_space.h"
#include "thin/metadata/metadata_space.h"

namespace karst::thin {

struct PoolTrees {
  // The device and the cache outlive it.
  PoolTrees(block::Device& device, cache::Cache& cache, uint64_t nr_blocks);

  // What a device's leaves stand for: data blocks.
  class MappedBlocks final : public Btree::Leaves {
   public:
    explicit MappedBlocks(DataSpace& data) : data_(data) {}
    Result<void> retain(NodeView leaf) override;
    Result<void> release(NodeView leaf) override;

   private:
    DataSpace& data_;
  };

  // What the leaves above stand for: devices' trees.
  class DeviceTrees final : public Btree::Leaves {
   public:
    DeviceTrees(BlockStore& store, Btree& mappings) : store_(store), mappings_(mappings) {}
    Result<void> retain(NodeView leaf) override;
    Result<void> release(NodeView leaf) override;

   private:
    BlockStore& store_;
    Btree& mappings_;
  };

  BlockStore store;
  MetadataSpace metadata{store};
  DataSpace data{store};
  MappedBlocks mapped_blocks{data};
  Btree mappings{store, sizeof(le64), &mapped_blocks};
  DeviceTrees device_trees{store, mappings};
  Btree roots{store, sizeof(le64), &device_trees};
  Btree details{store, sizeof(DeviceDetails)};
  MetadataBlock roots_at{}, details_at{};
};

}  // namespace karst::thin

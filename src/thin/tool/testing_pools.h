// What tests of the tools share: pools in memory, their metadata as text and from text, and damage.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "block/device.h"
#include "cache/cache.h"
#include "core/worker_pool.h"
#include "thin/format/block.h"
#include "thin/metadata/pool_metadata.h"
#include "thin/tool/check.h"
#include "thin/tool/restore.h"
#include "thin/tool/salvage.h"

namespace karst::thin::testing {

// Devices with snapshots, some written to since, one emptied; large enough for trees of two levels.
struct PoolOptions {
  uint64_t metadata_size = 8 << 20;
  uint64_t data_blocks = 20000;
  bool metadata_snapshot = false;  // and changes after it
};
std::unique_ptr<block::Device> make_pool(const PoolOptions& options = {});

Result<std::string> dump_text(block::Device& device, const Reading& reading = {});
Result<Restorer::Report> restore_text(std::string_view xml, block::Device& device);
std::unique_ptr<block::Device> blank_metadata(uint64_t size = 8 << 20);

struct Checked {
  CheckReport report;
  std::map<std::string, uint64_t> findings;  // by id
};
Result<Checked> check(block::Device& device, const CheckOptions& options = {});

struct Salvaged {
  SalvageReport report;
  std::vector<std::string> losses;
};
// Onto `to`.
Result<Salvaged> repair(block::Device& from, block::Device& to, const PoolOverrides& overrides = {});

Superblock superblock_of(block::Device& device);
// Changes a block and seals it again.
void change_block(block::Device& device, MetadataBlock number, BlockKind kind,
                  FunctionRef<void(MutableBytes block)> change);

}  // namespace karst::thin::testing

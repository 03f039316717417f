#include "thin/tool/testing_pools.h"

#include <algorithm>
#include <cstring>

#include "block/memory_device.h"
#include "thin/tool/dump_writers.h"
#include "thin/tool/xml_reader.h"

namespace karst::thin::testing {
namespace {

class NoData final : public CommitSteps {
 public:
  Result<void> flush_data() override { return {}; }
  void settle() override {}
};

void write(PoolMetadata& pool, DeviceId id, uint64_t from, uint64_t count, uint64_t step = 1) {
  const ThinDeviceRef device = pool.open_device(id).value();
  for (uint64_t i = 0; i < count; ++i)
    pool.insert(*device, VirtualBlock{from + i * step}, pool.reserve_block().value().value()).value();
}

}  // namespace

std::unique_ptr<block::Device> make_pool(const PoolOptions& options) {
  auto disk = block::MemoryDevice::create(options.metadata_size, 4096).value();
  cache::Cache cache({.limit = 16 << 20});
  NoData no_data;
  const auto pool = PoolMetadata::format(*disk, cache, 128).value();
  pool->grow_data(options.data_blocks).value();
  for (const DeviceId id : {1, 2, 5}) pool->create_thin(id).value();
  write(*pool, 1, 0, 2000);
  write(*pool, 2, 77, 900, 3);
  pool->create_snap(3, 1).value();
  pool->create_snap(4, 3).value();
  write(*pool, 1, 500, 300);  // breaks sharing
  write(*pool, 4, 9000, 100);
  pool->commit(no_data).value();
  if (options.metadata_snapshot) {
    pool->reserve_metadata_snap(no_data).value();
    write(*pool, 2, 100, 40);
    pool->delete_device(5).value();
    pool->commit(no_data).value();
  }
  return disk;
}

std::unique_ptr<block::Device> blank_metadata(uint64_t size) {
  return block::MemoryDevice::create(size, 4096).value();
}

Result<std::string> dump_text(block::Device& device, const Reading& reading) {
  cache::Cache cache({.limit = 4 << 20});
  const auto metadata = TRY(MetadataReader::open(device, cache, reading));
  std::string text;
  const auto write = [&](std::string_view piece) -> Result<void> {
    text += piece;
    return {};
  };
  TextOut out(write);
  TRY(dump(*metadata, {}, *make_dump_writer(DumpFormat::xml, out)));
  return text;
}

Result<Restorer::Report> restore_text(std::string_view xml, block::Device& device) {
  const auto restorer = TRY(Restorer::create(device, {}));
  const auto read = [&](MutableBytes into) -> Result<size_t> {
    const size_t length = std::min(xml.size(), into.size());
    std::memcpy(into.data(), xml.data(), length);
    xml.remove_prefix(length);
    return length;
  };
  TRY(read_pool_xml(read, *restorer));
  return restorer->report();
}

Result<Checked> check(block::Device& device, const CheckOptions& options) {
  cache::Cache cache({.limit = 4 << 20});
  const auto pool = TRY(WorkerPool::create({.name = "check", .threads = 2}));
  Checked checked;
  const auto tell = [&](const Finding& finding) { ++checked.findings[finding.kind.id]; };
  Findings findings(tell, 1000);
  checked.report = TRY(check_metadata(device, cache, *pool, options, {}, findings));
  checked.report.scan.reset();
  return checked;
}

Result<Salvaged> repair(block::Device& from, block::Device& to, const PoolOverrides& overrides) {
  cache::Cache cache({.limit = 4 << 20});
  const auto pool = TRY(WorkerPool::create({.name = "repair", .threads = 2}));
  const auto restorer = TRY(Restorer::create(to, {}));
  Salvaged salvaged;
  const auto tell = [&](const std::string& text) { salvaged.losses.push_back(text); };
  salvaged.report = TRY(salvage(from, cache, *pool, {.overrides = overrides}, *restorer, tell));
  return salvaged;
}

Superblock superblock_of(block::Device& device) {
  Superblock super;
  device.read(0, {reinterpret_cast<std::byte*>(&super), sizeof super}).value();
  return super;
}

void change_block(block::Device& device, MetadataBlock number, BlockKind kind,
                  FunctionRef<void(MutableBytes block)> change) {
  std::vector<std::byte> block(metadata_block_size);
  device.read(raw(number) * metadata_block_size, block).value();
  change(block);
  seal_block(kind, number, block);
  device.write(raw(number) * metadata_block_size, block).value();
}

}  // namespace karst::thin::testing

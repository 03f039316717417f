#include "thin/tool/restore.h"

#include <algorithm>

#include "core/assert.h"
#include "core/checked.h"
#include "thin/format/errors.h"
#include "thin/tool/space_map_writer.h"

namespace karst::thin {

// A leaf's mappings, each of which uses a data block.
class Restorer::MappedBlocks final : public TreeBuilder::Values {
 public:
  explicit MappedBlocks(UseCounts& uses) : uses_(uses) {}
  void add(NodeView leaf) override {
    for (uint32_t i = 0; i < leaf.size(); ++i) uses_.add(raw(Mapping::unpack(leaf.value_as<le64>(i)).block));
  }
  void remove(NodeView leaf) override {
    for (uint32_t i = 0; i < leaf.size(); ++i)
      uses_.remove(raw(Mapping::unpack(leaf.value_as<le64>(i)).block));
  }

 private:
  UseCounts& uses_;
};

Restorer::Restorer(block::Device& device, PoolOverrides overrides, uint64_t nr_blocks)
    : device_(device), overrides_(overrides), writer_(device, nr_blocks) {}
Restorer::~Restorer() = default;

Result<std::unique_ptr<Restorer>> Restorer::create(block::Device& device, PoolOverrides overrides) {
  const uint64_t blocks = std::min(device.size() / metadata_block_size, metadata_blocks_max);
  if (blocks < 2)
    return Error::make(err::no_space, "{} is too small for metadata ({} bytes)", device.name(),
                       device.size());
  std::unique_ptr<Restorer> restorer(new Restorer(device, overrides, blocks));
  restorer->metadata_uses_ = TRY(UseCounts::create(blocks));
  restorer->metadata_uses_->add(raw(superblock_at));
  return restorer;
}

Result<void> Restorer::begin_pool(const PoolFacts& facts) {
  facts_ = facts;
  overrides_.apply(facts_);
  if (facts_.version < superblock_version_min || facts_.version > superblock_version)
    return Error(err::invalid, "metadata of an unknown version")
        .expected(fmt::format("{} to {}", superblock_version_min, superblock_version), facts_.version);
  if (!is_data_block_size(facts_.data_block_size))
    return Error(err::invalid, "data blocks of an impossible size")
        .expected("a multiple of 128 sectors up to 2097152", facts_.data_block_size);
  if (bitmaps_for(facts_.nr_data_blocks) >= writer_.nr_blocks())
    return Error::make(err::no_space, "the bitmaps of {} data blocks do not fit on {} ({} blocks)",
                       facts_.nr_data_blocks, device_.name(), writer_.nr_blocks());
  data_uses_ = TRY(UseCounts::create(facts_.nr_data_blocks));
  mapped_blocks_ = std::make_unique<MappedBlocks>(*data_uses_);
  // From here on what was there before is gone, whatever comes of this.
  TRY(device_.write(0, std::vector<std::byte>(metadata_block_size)));
  return device_.flush();
}

Result<void> Restorer::begin_section() {
  if (!data_uses_) return Error(err::invalid, "mappings without a superblock before them");
  if (builder_) return Error(err::invalid, "a device or definition within another");
  builder_.emplace(writer_, *metadata_uses_, sizeof(le64), mapped_blocks_.get());
  last_key_.reset();
  mapped_ = 0;
  return {};
}

Result<void> Restorer::begin_def(std::string_view name) {
  TRY(begin_section());
  if (defs_.contains(name)) return Error::make(err::invalid, "definition '{}' is there already", name);
  def_name_ = name;
  return {};
}

Result<void> Restorer::end_def() {
  VERIFY(builder_ && def_name_);
  defs_[*def_name_] = TRY(builder_->finish_leaves());
  builder_.reset();
  def_name_.reset();
  return {};
}

Result<void> Restorer::begin_device(const DeviceFacts& facts) {
  TRY(begin_section());
  if (facts.id > max_device_id)
    return Error(err::invalid, "a device has a number that none can have")
        .expected(fmt::format("up to {}", max_device_id), facts.id);
  if (devices_.contains(facts.id)) return Error::make(err::invalid, "device {} is there already", facts.id);
  device_facts_ = facts;
  return {};
}

Result<void> Restorer::end_device() {
  VERIFY(builder_ && device_facts_);
  DeviceFacts& facts = *device_facts_;
  if (facts.mapped_blocks != mapped_) report_.wrong_counts.push_back(facts.id);
  facts.mapped_blocks = mapped_;
  ++report_.devices;
  report_.mappings += mapped_;
  devices_[facts.id] = {facts, TRY(builder_->finish())};
  builder_.reset();
  device_facts_.reset();
  return {};
}

Result<void> Restorer::check_next(uint64_t first_key) {
  if (last_key_ && first_key <= *last_key_)
    return Error(err::invalid, "mappings are not in ascending order")
        .expected(fmt::format("above {}", *last_key_), first_key);
  return {};
}

Result<void> Restorer::map(const MappingRun& run) {
  if (!builder_) return Error(err::invalid, "a mapping outside of a device or definition");
  if (run.length == 0) return Error(err::invalid, "a mapping of no block");
  TRY(check_next(raw(run.begin)));
  const auto last_key = checked_add(raw(run.begin), run.length - 1);
  const auto last_data = checked_add(raw(run.data), run.length - 1);
  if (!last_key) return Error(err::invalid, "a mapping beyond all blocks that a device can have");
  if (!last_data || *last_data >= data_uses_->blocks())
    return Error(err::invalid, "a mapping beyond the end of the data device")
        .expected(fmt::format("data blocks below {}", data_uses_->blocks()),
                  fmt::format("{} from {}", run.length, run.data));
  if (run.time > Mapping::time_mask)
    return Error(err::invalid, "a mapping of a time that does not fit")
        .expected(fmt::format("up to {}", Mapping::time_mask), run.time);
  for (uint64_t i = 0; i < run.length; ++i)
    TRY(builder_->add(raw(run.begin) + i, le64(Mapping{DataBlock{raw(run.data) + i}, run.time}.pack())));
  last_key_ = last_key;
  mapped_ += run.length;
  return {};
}

Result<void> Restorer::ref(std::string_view name) {
  if (!builder_) return Error(err::invalid, "a reference outside of a device or definition");
  const auto def = defs_.find(name);
  if (def == defs_.end()) return Error::make(err::invalid, "definition '{}' is not there", name);
  for (const TreeBuilder::Leaf& leaf : def->second) {
    TRY(check_next(leaf.first_key));
    TRY(builder_->share(leaf));
    last_key_ = leaf.last_key;
    mapped_ += leaf.entries;
  }
  return {};
}

// Leaves of definitions that no device has come to use.
Result<void> Restorer::release_unused_defs() {
  std::vector<std::byte> block(metadata_block_size);
  std::vector<uint64_t> unused;
  for (const auto& [name, leaves] : defs_)
    for (const TreeBuilder::Leaf& leaf : leaves)
      if (metadata_uses_->count(raw(leaf.number)) == 0) unused.push_back(raw(leaf.number));
  // A definition may have leaves of another.
  std::ranges::sort(unused);
  unused.erase(std::unique(unused.begin(), unused.end()), unused.end());
  for (const uint64_t number : unused) {
    TRY(writer_.read(MetadataBlock{number}, block));
    mapped_blocks_->remove(NodeView(block));
  }
  return {};
}

Result<void> Restorer::end_pool() {
  VERIFY(!builder_ && data_uses_);
  TRY(release_unused_defs());
  TreeBuilder roots(writer_, *metadata_uses_, sizeof(le64));
  TreeBuilder details(writer_, *metadata_uses_, sizeof(DeviceDetails));
  for (const auto& [id, device] : devices_) {
    TRY(roots.add(id, le64(raw(device.root))));
    TRY(details.add(id, DeviceDetails{device.facts.mapped_blocks, device.facts.transaction,
                                      device.facts.creation_time, device.facts.snap_time}));
  }
  std::vector<std::byte> block(metadata_block_size);
  Superblock& super = *reinterpret_cast<Superblock*>(block.data());
  std::copy_n(facts_.uuid.begin(), std::min(facts_.uuid.size(), super.uuid.size()), super.uuid.begin());
  super.flags = facts_.flags;
  super.magic = superblock_magic;
  super.version = facts_.version;
  super.time = facts_.time;
  super.trans_id = facts_.transaction;
  super.data_block_size = facts_.data_block_size;
  super.metadata_block_size = metadata_block_sectors;
  super.metadata_nr_blocks = writer_.nr_blocks();
  super.data_mapping_root = raw(TRY(roots.finish()));
  super.device_details_root = raw(TRY(details.finish()));
  super.set_data_space_map(TRY(write_data_space_map(writer_, *metadata_uses_, *data_uses_)));
  const SpaceMapRoot metadata = TRY(write_metadata_space_map(writer_, *metadata_uses_));
  report_.metadata_blocks = metadata.nr_allocated;
  super.set_metadata_space_map(metadata);
  TRY(writer_.flush());
  TRY(device_.flush());
  seal_block(BlockKind::superblock, superblock_at, block);
  return device_.write(0, block, block::IoFlags::fua);
}

}  // namespace karst::thin

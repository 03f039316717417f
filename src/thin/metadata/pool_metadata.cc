#include "thin/metadata/pool_metadata.h"

#include <algorithm>
#include <cstring>

#include "thin/format/errors.h"
#include "thin/metadata/pool_trees.h"

namespace karst::thin {
namespace {

// Of the metadata, kept back for what a commit itself takes. Source: Linux drivers/md/dm-thin-metadata.c,
// __set_metadata_reserve: 4 MiB, at most a tenth.
constexpr uint64_t reserve_max = (4 << 20) / metadata_block_size;

// A pool that nobody uses yet.
class NoSteps final : public CommitSteps {
 public:
  Result<void> flush_data() override { return {}; }
  void settle() override {}
};

uint64_t blocks_of(const block::Device& device) {
  return std::min(device.size() / metadata_block_size, metadata_blocks_max);
}

}  // namespace

PoolMetadata::PoolMetadata(block::Device& device, cache::Cache& cache)
    : device_(device), cache_(cache), superblock_(metadata_block_size) {}
PoolMetadata::~PoolMetadata() = default;

Result<std::unique_ptr<PoolMetadata>> PoolMetadata::format(block::Device& device, cache::Cache& cache,
                                                           uint32_t data_block_sectors) {
  if (!is_data_block_size(data_block_sectors))
    return Error(err::invalid, "data blocks of an impossible size")
        .expected("a multiple of 128 sectors up to 2097152", data_block_sectors);
  std::unique_ptr<PoolMetadata> pool(new PoolMetadata(device, cache));
  {
    ExclusiveLock lock(pool->lock_);
    TRY(pool->start_empty(data_block_sectors));
  }
  NoSteps none;
  TRY(pool->commit(none));
  return pool;
}

Result<std::unique_ptr<PoolMetadata>> PoolMetadata::open(block::Device& device, cache::Cache& cache,
                                                         Opening opening) {
  std::unique_ptr<PoolMetadata> pool(new PoolMetadata(device, cache));
  {
    ExclusiveLock lock(pool->lock_);
    TRY(pool->load(opening).context(
        [&] { return fmt::format("opening the metadata on {}", device.name()); }));
  }
  return pool;
}

Result<void> PoolMetadata::start_empty(uint32_t data_block_sectors) {
  state_ = std::make_unique<PoolTrees>(device_, cache_, blocks_of(device_));
  PoolTrees& state = *state_;
  // Block 0 is the superblock's.
  TRY(state.store.counts().allocate());
  TRY(state.metadata.create());
  TRY(state.data.create());
  state.roots_at = TRY(state.roots.create());
  state.details_at = TRY(state.details.create());
  Superblock& super = superblock_in(superblock_);
  super.magic = superblock_magic;
  super.version = superblock_version;
  super.data_block_size = data_block_sectors;
  super.metadata_block_size = metadata_block_sectors;
  super.metadata_nr_blocks = state.store.nr_blocks();
  data_block_sectors_ = data_block_sectors;
  changed_ = true;
  return {};
}

Result<void> PoolMetadata::load(Opening opening) {
  TRY(device_.read(0, superblock_));
  TRY(check_seal(BlockKind::superblock, superblock_at, superblock_));
  const Superblock& super = superblock_in(superblock_);
  TRY(check_superblock(super, opening));
  const uint64_t blocks = super.metadata_space_map().nr_blocks;
  if (blocks > blocks_of(device_) || blocks == 0)
    return Error::make(err::invalid, "metadata device ({} blocks) too small: expected {}", blocks_of(device_),
                       blocks);
  state_ = std::make_unique<PoolTrees>(device_, cache_, blocks);
  PoolTrees& state = *state_;
  state.roots_at = MetadataBlock{super.data_mapping_root.value()};
  state.details_at = MetadataBlock{super.device_details_root.value()};
  data_block_sectors_ = super.data_block_size;
  transaction_id_ = super.trans_id;
  time_ = super.time;
  held_root_ = MetadataBlock{super.held_root.value()};
  changed_ = false;
  TRY(state.metadata.open(super.metadata_space_map()));
  return state.data.open(super.data_space_map());
}

Result<void> PoolMetadata::check_usable() const {
  if (failed_)
    return Error(err::failed, "the pool's metadata can no longer be used after an earlier failure");
  return {};
}

Result<void> PoolMetadata::check_usable(const ThinDevice& device) const {
  TRY(check_usable());
  return device.exists_ ? Result<void>() : no_such_device(device.id_);
}

Result<void> PoolMetadata::check_whole() const {
  if (broken_)
    return Error(err::failed, "an earlier commit has failed, and its transaction is not yet given up");
  return {};
}

Result<void> PoolMetadata::begin_change() {
  TRY(check_usable());
  TRY(check_whole());
  TRY(check_room());
  changed_ = broken_ = true;
  return state_->store.balance();
}

// Whether one more change, and then a commit, can find the blocks they need.
Result<void> PoolMetadata::check_room() const {
  const PoolTrees& state = *state_;
  // Each entry put into a tree copies at most a path, which is most often the transaction's own already.
  constexpr uint64_t path = 3;
  const uint64_t to_commit = path * (dirty_.size() + state.data.changes()) + state.metadata.flush_needs();
  // A shared leaf that is copied changes the counts of all its blocks: in the bitmaps, and in the tree of
  // large ones.
  const bool shares = time_ > 0 || held_root_ != MetadataBlock{0};
  const uint64_t bitmaps = std::min<uint64_t>(node_capacity(sizeof(le64)), bitmaps_for(state.data.blocks()));
  const uint64_t to_change = 8 + (shares ? 2 * bitmaps : 0);
  if (state.store.counts().available() >= to_commit + to_change) return {};
  return Error::make(err::no_space, "the metadata device is full ({} of {} blocks left)",
                     state.store.counts().available(), state.store.nr_blocks());
}

void PoolMetadata::note_change(ThinDevice& device) {
  device.changed_in_.store(transaction_, std::memory_order_release);
}

void PoolMetadata::set_watcher(ThinDevice& device, MappingWatcher& watcher) {
  ExclusiveLock lock(lock_);
  device.watcher_ = &watcher;
}

void PoolMetadata::remove_watcher(ThinDevice& device, const MappingWatcher& watcher) {
  ExclusiveLock lock(lock_);
  if (device.watcher_ == &watcher) device.watcher_ = nullptr;
}

// ---- space

Result<std::optional<DataBlock>> PoolMetadata::reserve_block() {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  TRY(check_room());
  return state_->data.reserve();
}

void PoolMetadata::unreserve(DataBlock block) {
  ExclusiveLock lock(lock_);
  if (state_) state_->data.unreserve(block);
}

Result<uint32_t> PoolMetadata::count(DataBlock block) {
  SharedLock lock(lock_);
  TRY(check_usable());
  return state_->data.count(block);
}

uint64_t PoolMetadata::reserve() const { return std::min(reserve_max, state_->store.nr_blocks() / 10); }

PoolMetadata::Space PoolMetadata::space() const {
  SharedLock lock(lock_);
  if (!state_) return {};
  const uint64_t available = state_->store.counts().available();
  return {.data_blocks = state_->data.blocks(),
          .data_available = state_->data.available(),
          .metadata_blocks = state_->store.nr_blocks(),
          .metadata_available = available - std::min(available, reserve())};
}

bool PoolMetadata::has_room() const {
  SharedLock lock(lock_);
  return state_ && check_room();
}

Result<void> PoolMetadata::grow_data(uint64_t blocks) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  if (blocks < state_->data.blocks())
    return Error::make(err::invalid, "data device ({} blocks) too small: expected {}", blocks,
                       state_->data.blocks());
  if (blocks == state_->data.blocks()) return {};
  TRY(begin_change());
  TRY(state_->data.grow(blocks));
  end_change();
  return {};
}

Result<void> PoolMetadata::grow_metadata(uint64_t blocks) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  blocks = std::min(blocks, metadata_blocks_max);
  if (blocks < state_->store.nr_blocks())
    return Error::make(err::invalid, "metadata device ({} blocks) too small: expected {}", blocks,
                       state_->store.nr_blocks());
  if (blocks == state_->store.nr_blocks()) return {};
  // Not begin_change(): this is what makes room.
  changed_ = true;
  state_->store.counts().grow(blocks);
  return {};
}

}  // namespace karst::thin

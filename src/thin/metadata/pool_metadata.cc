#include "thin/metadata/pool_metadata.h"

#include <algorithm>
#include <cstring>

#include "thin/format/errors.h"

namespace karst::thin {
namespace {

// Of the metadata, kept back for what a commit itself takes. Source: Linux drivers/md/dm-thin-metadata.c,
// __set_metadata_reserve: 4 MiB, at most a tenth.
constexpr uint64_t reserve_max = (4 << 20) / metadata_block_size;

Superblock& view(std::vector<std::byte>& block) { return *reinterpret_cast<Superblock*>(block.data()); }
const Superblock& view(const std::vector<std::byte>& block) { return *overlay<Superblock>(block); }

Error no_such_device(DeviceId id) { return Error::make(err::no_device, "no thin device {} in the pool", id); }

// A pool that nobody uses yet.
class NoSteps final : public CommitSteps {
 public:
  Result<void> flush_data() override { return {}; }
  void settle() override {}
};

template <typename F>
Result<void> without_throwing(F&& work) NO_THREAD_SAFETY_ANALYSIS {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Error(err::no_memory, "not enough memory");
  }
}

uint64_t blocks_of(const block::Device& device) {
  return std::min(device.size() / metadata_block_size, metadata_blocks_max);
}

}  // namespace

// What a device's leaves stand for: data blocks.
class PoolMetadata::MappedBlocks final : public Btree::Leaves {
 public:
  explicit MappedBlocks(DataSpace& data) : data_(data) {}
  Result<void> retain(NodeView leaf) override {
    for (uint32_t i = 0; i < leaf.size(); ++i)
      TRY(data_.retain(Mapping::unpack(leaf.value_as<le64>(i)).block));
    return {};
  }
  Result<void> release(NodeView leaf) override {
    for (uint32_t i = 0; i < leaf.size(); ++i)
      TRY(data_.release(Mapping::unpack(leaf.value_as<le64>(i)).block));
    return {};
  }

 private:
  DataSpace& data_;
};

// What the leaves above stand for: devices' trees.
class PoolMetadata::DeviceTrees final : public Btree::Leaves {
 public:
  DeviceTrees(BlockStore& store, Btree& mappings) : store_(store), mappings_(mappings) {}
  Result<void> retain(NodeView leaf) override {
    for (uint32_t i = 0; i < leaf.size(); ++i) TRY(store_.counts().retain(leaf.child(i)));
    return {};
  }
  Result<void> release(NodeView leaf) override {
    for (uint32_t i = 0; i < leaf.size(); ++i) TRY(mappings_.release(leaf.child(i)));
    return {};
  }

 private:
  BlockStore& store_;
  Btree& mappings_;
};

// What a transaction works on; made anew when one is given up.
struct PoolMetadata::State {
  State(block::Device& device, cache::Cache& cache, uint64_t nr_blocks) : store(device, cache, nr_blocks) {}

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
  state_ = std::make_unique<State>(device_, cache_, blocks_of(device_));
  State& state = *state_;
  // Block 0 is the superblock's.
  TRY(state.store.counts().allocate());
  TRY(state.metadata.create());
  TRY(state.data.create());
  state.roots_at = TRY(state.roots.create());
  state.details_at = TRY(state.details.create());
  Superblock& super = view(superblock_);
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
  const Superblock& super = view(superblock_);
  TRY(check_superblock(super, opening));
  const uint64_t blocks = super.metadata_space_map().nr_blocks;
  if (blocks > blocks_of(device_) || blocks == 0)
    return Error::make(err::invalid, "metadata device ({} blocks) too small: expected {}", blocks_of(device_),
                       blocks);
  state_ = std::make_unique<State>(device_, cache_, blocks);
  State& state = *state_;
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
  const State& state = *state_;
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

// ---- devices

Result<bool> PoolMetadata::exists(DeviceId id) {
  if (const auto dirty = dirty_.find(id); dirty != dirty_.end()) return true;
  return TRY(state_->details.find(state_->details_at, id)).has_value();
}

Result<void> PoolMetadata::reload_device(ThinDevice& device) {
  State& state = *state_;
  const auto root = TRY(state.roots.find(state.roots_at, device.id_));
  const auto found = TRY(state.details.find(state.details_at, device.id_));
  if (!root || !found) return no_such_device(device.id_);
  const auto details = found->value<DeviceDetails>();
  device.root_ = MetadataBlock{root->value<le64>().value()};
  device.mapped_blocks_ = details.mapped_blocks;
  device.transaction_id_ = details.transaction_id;
  device.creation_time_ = details.creation_time;
  device.snapshotted_time_.store(details.snapshotted_time, std::memory_order_release);
  device.details_changed_ = device.owned_ = false;
  return {};
}

Result<ThinDeviceRef> PoolMetadata::device_locked(DeviceId id) {
  std::weak_ptr<ThinDevice>& known = open_[id];
  if (ThinDeviceRef open = known.lock()) {
    if (open->exists_) return open;
  }
  auto device = std::make_shared<ThinDevice>(id);
  if (auto loaded = reload_device(*device); !loaded) {
    if (known.expired()) open_.erase(id);
    return std::move(loaded).error();
  }
  known = device;
  return device;
}

Result<ThinDeviceRef> PoolMetadata::open_device(DeviceId id) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  return device_locked(id);
}

Result<std::vector<DeviceId>> PoolMetadata::devices() {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  std::vector<DeviceId> ids;
  TRY(state_->details.walk(state_->details_at, 0, uint64_t{max_device_id} + 1,
                           [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
                             for (uint32_t i = begin; i < end; ++i)
                               ids.push_back(static_cast<DeviceId>(leaf.key(i)));
                             return true;
                           }));
  return ids;
}

// Enters a device in both trees.
Result<void> PoolMetadata::add_device(DeviceId id, MetadataBlock root, uint64_t mapped_blocks) {
  State& state = *state_;
  state.roots_at = TRY(state.roots.insert(state.roots_at, id, le64(raw(root))));
  const DeviceDetails details{mapped_blocks, transaction_id_, time_, time_};
  state.details_at = TRY(state.details.insert(state.details_at, id, details));
  return {};
}

Result<void> PoolMetadata::create_thin(DeviceId id) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  if (TRY(exists(id))) return Error::make(err::exists, "thin device {} exists already", id);
  TRY(begin_change());
  TRY(add_device(id, TRY(state_->mappings.create()), 0));
  end_change();
  return {};
}

Result<void> PoolMetadata::create_snap(DeviceId id, DeviceId origin_id) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  if (TRY(exists(id))) return Error::make(err::exists, "thin device {} exists already", id);
  const ThinDeviceRef origin = TRY(device_locked(origin_id));
  TRY(begin_change());
  TRY(put_root(*origin));
  TRY(state_->store.counts().retain(origin->root_));
  ++time_;
  TRY(add_device(id, origin->root_, origin->mapped_blocks_));
  origin->snapshotted_time_.store(time_, std::memory_order_release);
  origin->details_changed_ = true;
  dirty_[origin_id] = origin;
  end_change();
  return {};
}

Result<void> PoolMetadata::delete_device(DeviceId id) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  if (const auto open = open_.find(id); open != open_.end() && !open->second.expired()) {
    // Only the lists of what changed may have it.
    const auto ours =
        (dirty_.contains(id) ? 1 : 0) +
        std::ranges::count_if(in_commit_, [&](const auto& device) { return device->id_ == id; });
    if (open->second.use_count() > ours) return Error::make(err::busy, "thin device {} is in use", id);
  }
  const ThinDeviceRef device = TRY(device_locked(id));
  TRY(begin_change());
  TRY(put_root(*device));
  State& state = *state_;
  state.details_at = TRY(state.details.erase(state.details_at, id));
  state.roots_at = TRY(state.roots.erase(state.roots_at, id));
  dirty_.erase(id);
  open_.erase(id);
  TRY(state.mappings.release(device->root_));
  end_change();
  return {};
}

// From here on the device's root may be replaced without telling the tree above.
Result<void> PoolMetadata::own(ThinDevice& device) {
  if (!device.exists_) return no_such_device(device.id_);
  if (device.owned_) return {};
  state_->roots_at = TRY(state_->roots.own_path(state_->roots_at, device.id_));
  device.owned_ = true;
  dirty_[device.id_] = open_[device.id_].lock();
  return {};
}

Result<void> PoolMetadata::put_root(ThinDevice& device) {
  if (!device.owned_) return {};
  state_->roots_at = TRY(state_->roots.insert(state_->roots_at, device.id_, le64(raw(device.root_))));
  device.owned_ = false;
  return {};
}

Result<void> PoolMetadata::put_devices() {
  for (auto& [id, device] : dirty_) {
    TRY(put_root(*device));
    if (!device->details_changed_) continue;
    const DeviceDetails details{device->mapped_blocks_, device->transaction_id_, device->creation_time_,
                                device->snapshotted_time_.load(std::memory_order_relaxed)};
    state_->details_at = TRY(state_->details.insert(state_->details_at, id, details));
    device->details_changed_ = false;
  }
  for (auto& [id, device] : dirty_) in_commit_.push_back(std::move(device));
  dirty_.clear();
  std::erase_if(open_, [](const auto& known) { return known.second.expired(); });
  return {};
}

// ---- mappings

Result<std::optional<Mapping>> PoolMetadata::find(const ThinDevice& device, VirtualBlock block) {
  SharedLock lock(lock_);
  TRY(check_usable());
  if (!device.exists_) return no_such_device(device.id_);
  const auto found = TRY(state_->mappings.find(device.root_, raw(block)));
  if (!found) return std::optional<Mapping>();
  return std::optional<Mapping>(Mapping::unpack(found->value<le64>()));
}

Result<void> PoolMetadata::walk(const ThinDevice& device, VirtualBlock from, VirtualBlock to,
                                FunctionRef<bool(VirtualBlock, Mapping)> each) {
  SharedLock lock(lock_);
  TRY(check_usable());
  if (!device.exists_) return no_such_device(device.id_);
  return state_->mappings.walk(
      device.root_, raw(from), raw(to), [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
        for (uint32_t i = begin; i < end; ++i)
          if (!each(VirtualBlock{leaf.key(i)}, Mapping::unpack(leaf.value_as<le64>(i)))) return false;
        return true;
      });
}

Result<void> PoolMetadata::tell(const ThinDevice& device, VirtualBlock from, VirtualBlock to) {
  SharedLock lock(lock_);
  TRY(check_usable());
  if (!device.exists_) return no_such_device(device.id_);
  uint64_t next = raw(from);
  const auto gap_until = [&](uint64_t end) {
    if (next < end) device.watcher_->unmapped(VirtualBlock{next}, VirtualBlock{end});
  };
  TRY(state_->mappings.walk(
      device.root_, raw(from), raw(to), [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<bool> {
        for (uint32_t i = begin; i < end; ++i) {
          gap_until(leaf.key(i));
          device.watcher_->mapped(VirtualBlock{leaf.key(i)}, Mapping::unpack(leaf.value_as<le64>(i)));
          next = leaf.key(i) + 1;
        }
        return true;
      }));
  gap_until(raw(to));
  return {};
}

Result<Mapping> PoolMetadata::insert(ThinDevice& device, VirtualBlock virtual_block, DataBlock block) {
  ExclusiveLock lock(lock_);
  TRY(begin_change());
  TRY(own(device));
  TRY(state_->data.use(block));
  const Mapping mapping{block, time_ & Mapping::time_mask};
  std::optional<Mapping> before;
  auto note = [&](Bytes old) -> Result<void> {
    before = Mapping::unpack(*overlay<le64>(old));
    return {};
  };
  FunctionRef<Result<void>(Bytes)> replaced(note);
  const le64 value = mapping.pack();
  device.root_ = TRY(state_->mappings.insert(device.root_, raw(virtual_block), bytes_of(value), &replaced));
  note_change(device);
  if (before) {
    TRY(state_->data.release(before->block));
  } else {
    ++device.mapped_blocks_;
    device.details_changed_ = true;
  }
  if (device.watcher_ != nullptr) device.watcher_->mapped(virtual_block, mapping);
  end_change();
  return mapping;
}

Result<void> PoolMetadata::erase(ThinDevice& device, VirtualBlock from, VirtualBlock to, Freed freed,
                                 FunctionRef<void(VirtualBlock, Mapping, bool last)> each) {
  ExclusiveLock lock(lock_);
  TRY(begin_change());
  TRY(own(device));
  note_change(device);
  State& state = *state_;
  auto erased = [&](NodeView leaf, uint32_t begin, uint32_t end) -> Result<void> {
    for (uint32_t i = begin; i < end; ++i) {
      const Mapping mapping = Mapping::unpack(leaf.value_as<le64>(i));
      const bool last = TRY(state.data.release(mapping.block, freed));
      each(VirtualBlock{leaf.key(i)}, mapping, last);
    }
    device.mapped_blocks_ -= end - begin;
    device.details_changed_ = true;
    return {};
  };
  device.root_ = TRY(state.mappings.erase(device.root_, raw(from), raw(to), erased));
  if (device.watcher_ != nullptr) device.watcher_->unmapped(from, to);
  end_change();
  return {};
}

void PoolMetadata::give_back(DataBlock begin, uint64_t count) {
  ExclusiveLock lock(lock_);
  if (!state_ || failed_) return;
  state_->data.give_back(begin, count);
  // So that a commit comes, which makes them available.
  changed_ = true;
}

Result<std::optional<VirtualBlock>> PoolMetadata::highest_mapped(const ThinDevice& device) {
  SharedLock lock(lock_);
  TRY(check_usable());
  if (!device.exists_) return no_such_device(device.id_);
  const auto found = TRY(state_->mappings.last(device.root_));
  if (!found) return std::optional<VirtualBlock>();
  return std::optional<VirtualBlock>(VirtualBlock{found->key()});
}

uint64_t PoolMetadata::mapped_blocks(const ThinDevice& device) const {
  SharedLock lock(lock_);
  return device.mapped_blocks_;
}

PoolMetadata::Details PoolMetadata::details(const ThinDevice& device) const {
  SharedLock lock(lock_);
  return {device.mapped_blocks_, device.transaction_id_, device.creation_time_,
          device.snapshotted_time_.load(std::memory_order_relaxed)};
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

// ---- transactions

uint64_t PoolMetadata::transaction_id() const {
  SharedLock lock(lock_);
  return transaction_id_;
}

Result<void> PoolMetadata::set_transaction_id(uint64_t current, uint64_t next) {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  if (transaction_id_ != current)
    return Error(err::invalid, "mismatched transaction id").expected(current, transaction_id_);
  TRY(begin_change());
  transaction_id_ = next;
  end_change();
  return {};
}

bool PoolMetadata::changed() const {
  SharedLock lock(lock_);
  return changed_;
}

bool PoolMetadata::needs_check() const {
  SharedLock lock(lock_);
  return view(superblock_).needs_check();
}

Result<void> PoolMetadata::set_needs_check() {
  MutexLock one(commit_mutex_);
  ExclusiveLock lock(lock_);
  Superblock& super = view(superblock_);
  super.flags |= needs_check_flag;
  seal_block(BlockKind::superblock, superblock_at, superblock_);
  return device_.write(0, superblock_, block::IoFlags::fua);
}

Result<std::optional<PoolMetadata::Commit>> PoolMetadata::prepare_commit() {
  TRY(check_usable());
  TRY(check_whole());
  if (!changed_) return std::optional<Commit>();
  State& state = *state_;
  // Half of this is no state to go on from, whatever ends it.
  broken_ = true;
  TRY(put_devices());
  const SpaceMapRoot data = TRY(state.data.flush());
  const SpaceMapRoot metadata = TRY(state.metadata.flush());
  Commit commit;
  commit.store = &state.store;
  commit.superblock = superblock_;
  Superblock& super = view(commit.superblock);
  super.time = time_;
  super.trans_id = transaction_id_;
  super.held_root = raw(held_root_);
  super.set_data_space_map(data);
  super.set_metadata_space_map(metadata);
  super.data_mapping_root = raw(state.roots_at);
  super.device_details_root = raw(state.details_at);
  seal_block(BlockKind::superblock, superblock_at, commit.superblock);
  commit.frozen = state.store.freeze();
  commit.data_state = state.data.freeze();
  commit.transaction = transaction_++;
  changed_ = broken_ = false;
  return std::optional<Commit>(std::move(commit));
}

Result<void> PoolMetadata::write_commit(Commit& commit, CommitSteps& steps) {
  TRY(commit.store->write(commit.frozen.blocks));
  TRY(steps.flush_data());
  TRY(device_.flush());
  return device_.write(0, commit.superblock, block::IoFlags::fua);
}

void PoolMetadata::finish_commit(Commit commit, Settled settled) {
  superblock_ = std::move(commit.superblock);
  state_->store.counts().make_available(commit.frozen.leaving);
  if (settled == Settled::yes) state_->data.committed(commit.data_state);
  in_commit_.clear();
  durable_.store(commit.transaction, std::memory_order_release);
}

Result<void> PoolMetadata::commit_now(CommitSteps& steps) {
  std::optional<Commit> commit;
  {
    ExclusiveLock lock(lock_);
    commit = TRY(prepare_commit());
  }
  if (!commit) return {};
  TRY(write_commit(*commit, steps));
  steps.settle();
  ExclusiveLock lock(lock_);
  finish_commit(std::move(*commit), Settled::yes);
  return {};
}

Result<void> PoolMetadata::commit(CommitSteps& steps) {
  MutexLock one(commit_mutex_);
  auto committed = without_throwing([&]() REQUIRES(commit_mutex_) { return commit_now(steps); });
  if (committed) return {};
  ExclusiveLock lock(lock_);
  broken_ = true;
  return std::move(committed).error().while_doing(fmt::format("committing to {}", device_.name()));
}

Result<void> PoolMetadata::abort() {
  MutexLock one(commit_mutex_);
  ExclusiveLock lock(lock_);
  for (auto& [id, device] : dirty_) in_commit_.push_back(std::move(device));
  for (const ThinDeviceRef& device : in_commit_) device->lost_changes_.store(true, std::memory_order_release);
  dirty_.clear();
  in_commit_.clear();
  state_.reset();
  failed_ = true;
  auto loaded = without_throwing([&]() REQUIRES(lock_) { return load(Opening::for_writing); });
  for (auto& [id, weak] : open_) {
    const ThinDeviceRef device = weak.lock();
    if (!device) continue;
    if (loaded && !without_throwing([&]() REQUIRES(lock_) { return reload_device(*device); }))
      device->exists_ = false;
    if (device->watcher_ != nullptr) device->watcher_->forget_all();
  }
  broken_ = false;
  failed_ = !loaded;
  if (loaded) return {};
  return std::move(loaded).error().while_doing("going back to the last durable state");
}

// ---- the metadata snapshot

Result<void> PoolMetadata::reserve_metadata_snap(CommitSteps& steps) {
  MutexLock one(commit_mutex_);
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  if (held_root_ != MetadataBlock{0})
    return Error(err::busy, "Pool metadata snapshot already exists: release this before taking another.");
  // What is held has to be durable, and nothing may change before it is.
  TRY(check_whole());
  auto commit = prepare_commit();
  broken_ = true;
  if (!commit) return std::move(commit).error();
  if (*commit) {
    TRY(write_commit(**commit, steps));
    // Who is settled with takes this lock: data blocks that were freed wait for the next commit.
    finish_commit(**std::move(commit), Settled::not_yet);
  }
  end_change();
  TRY(begin_change());
  State& state = *state_;
  const auto copy = TRY(state.store.create(BlockKind::superblock));
  std::ranges::copy(superblock_, copy.bytes.begin());
  Superblock& super = *reinterpret_cast<Superblock*>(copy.bytes.data());
  // Not published: the counts go on changing.
  super.set_data_space_map({});
  super.set_metadata_space_map({});
  TRY(state.store.counts().retain(MetadataBlock{super.data_mapping_root.value()}));
  TRY(state.store.counts().retain(MetadataBlock{super.device_details_root.value()}));
  held_root_ = copy.number;
  end_change();
  return {};
}

Result<void> PoolMetadata::release_metadata_snap() {
  ExclusiveLock lock(lock_);
  TRY(check_usable());
  if (held_root_ == MetadataBlock{0})
    return Error(err::invalid, "No pool metadata snapshot found: nothing to release.");
  TRY(begin_change());
  State& state = *state_;
  MetadataBlock roots{}, details{};
  {
    const BlockRef block = TRY(state.store.read(BlockKind::superblock, held_root_));
    const auto& super = *overlay<Superblock>(block.bytes());
    roots = MetadataBlock{super.data_mapping_root.value()};
    details = MetadataBlock{super.device_details_root.value()};
  }
  TRY(state.roots.release(roots));
  TRY(state.details.release(details));
  TRY(state.store.release(held_root_));
  held_root_ = MetadataBlock{0};
  end_change();
  return {};
}

MetadataBlock PoolMetadata::held_root() const {
  SharedLock lock(lock_);
  return held_root_;
}

}  // namespace karst::thin

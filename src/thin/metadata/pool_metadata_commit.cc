// PoolMetadata: transactions and the metadata snapshot.
#include "thin/metadata/pool_metadata.h"

#include <algorithm>

#include "core/without_throwing.h"
#include "thin/format/errors.h"
#include "thin/metadata/pool_trees.h"

namespace karst::thin {
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
  return overlay<Superblock>(superblock_)->needs_check();
}

Result<void> PoolMetadata::set_needs_check() {
  MutexLock one(commit_mutex_);
  ExclusiveLock lock(lock_);
  Superblock& super = superblock_in(superblock_);
  super.flags |= needs_check_flag;
  seal_block(BlockKind::superblock, superblock_at, superblock_);
  return device_.write(0, superblock_, block::IoFlags::fua);
}

Result<std::optional<PoolMetadata::Commit>> PoolMetadata::prepare_commit() {
  TRY(check_usable());
  TRY(check_whole());
  if (!changed_) return std::optional<Commit>();
  PoolTrees& state = *state_;
  // Half of this is no state to go on from, whatever ends it.
  broken_ = true;
  TRY(put_devices());
  const SpaceMapRoot data = TRY(state.data.flush());
  const SpaceMapRoot metadata = TRY(state.metadata.flush());
  Commit commit;
  commit.store = &state.store;
  commit.superblock = superblock_;
  Superblock& super = superblock_in(commit.superblock);
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
  for (auto& [id, device] : open_) {
    if (loaded &&
        !without_throwing([&, &device = device]() REQUIRES(lock_) { return reload_device(*device); }))
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
  PoolTrees& state = *state_;
  const auto copy = TRY(state.store.create(BlockKind::superblock));
  std::ranges::copy(superblock_, copy.bytes.begin());
  Superblock& super = superblock_in(copy.bytes);
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
  PoolTrees& state = *state_;
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

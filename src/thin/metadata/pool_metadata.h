// A pool's metadata: its devices, what they map, and the space of both, as one state that moves from commit
// to commit.
//
// Everything between two commits is one transaction, whoever's changes they are. commit() ends it: under the
// lock the trees are made complete and the next transaction begins; without the lock the blocks are written,
// then the superblock, which makes them the durable state. Should anything fail, what was not durable is
// given up as a whole, the running transaction included: abort() goes back to the durable state. Lack of
// metadata space is no failure: a change that could leave a commit without the room it needs is refused
// before it begins, with err::no_space (TH-035).
//
// A device's mapping root is kept here while the device changes, and put into the tree above at the commit.
// So that this is the same as if it had been put there at once, the path to it is the transaction's own from
// the first change (Btree::own_path).
//
// Locks: thin.commit (one commit at a time, held across its I/O) → thin.metadata (shared by lookups,
// exclusive for changes; held while blocks of the trees are read).
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "block/device.h"
#include "cache/cache.h"
#include "core/mutex.h"
#include "thin/format/superblock.h"
#include "thin/metadata/block_store.h"
#include "thin/metadata/commit_steps.h"
#include "thin/metadata/data_space.h"
#include "thin/metadata/thin_device.h"

namespace karst::thin {

struct PoolTrees;

inline constexpr LockClass commit_lock{"thin.commit"};
inline constexpr LockClass metadata_lock{"thin.metadata"};

class PoolMetadata {
 public:
  // Makes a new pool: writes the whole of it, durable on return. The device's size decides how many metadata
  // blocks there are. err::no_space if it is too small.
  static Result<std::unique_ptr<PoolMetadata>> format(block::Device& device, cache::Cache& cache,
                                                      uint32_t data_block_sectors);
  // Opens one. err::super_… and those of reading; a device smaller than the space map says is err::invalid.
  static Result<std::unique_ptr<PoolMetadata>> open(block::Device& device, cache::Cache& cache,
                                                    Opening opening);
  ~PoolMetadata();

  uint32_t data_block_sectors() const { return data_block_sectors_; }

  // Devices. err::exists; err::no_device; err::busy for one that is open.
  Result<void> create_thin(DeviceId id);
  Result<void> create_snap(DeviceId id, DeviceId origin);
  Result<void> delete_device(DeviceId id);
  Result<ThinDeviceRef> open_device(DeviceId id);
  Result<std::vector<DeviceId>> devices();
  // One at a time; it outlives its being set. Taken out only if it is still the one.
  void set_watcher(ThinDevice& device, MappingWatcher& watcher);
  void remove_watcher(ThinDevice& device, const MappingWatcher& watcher);

  // Mappings. err::node_bounds for one that leads out of the data device.
  Result<std::optional<Mapping>> find(const ThinDevice& device, VirtualBlock block);
  // Calls each(virtual block, mapping) for what is mapped in [from, to), in order, until it returns false;
  // also where that cannot be followed.
  Result<void> walk(const ThinDevice& device, VirtualBlock from, VirtualBlock to,
                    FunctionRef<bool(VirtualBlock, Mapping)> each);
  // Tells the device's watcher what is mapped in [from, to) and what is not; nothing of what find() refuses.
  Result<void> tell(const ThinDevice& device, VirtualBlock from, VirtualBlock to);
  // Maps a reserved block, or maps anew: a data block that was mapped there has one referrer less.
  Result<Mapping> insert(ThinDevice& device, VirtualBlock virtual_block, DataBlock block);
  // Data blocks have one referrer less each. each(…) is told whether that was the last; with Freed::kept
  // those are not given out until give_back().
  using Freed = DataSpace::Freed;
  Result<void> erase(ThinDevice& device, VirtualBlock from, VirtualBlock to, Freed freed,
                     FunctionRef<void(VirtualBlock, Mapping, bool last)> each);
  void give_back(DataBlock begin, uint64_t count);
  struct Details {
    uint64_t mapped_blocks, transaction_id;
    uint32_t creation_time, snapshotted_time;
    std::optional<VirtualBlock> highest_mapped;
  };
  // Of a device that need not be open, and is not because of this. err::no_device.
  Result<Details> details(DeviceId id);

  // Reserves a data block for insert(), or until unreserve(). Nothing if there is none.
  Result<std::optional<DataBlock>> reserve_block();
  void unreserve(DataBlock block);
  Result<uint32_t> count(DataBlock block);

  // Sizes, in blocks. Available metadata leaves out the reserve that a commit may need (TH-034).
  struct Space {
    uint64_t data_blocks, data_available;
    uint64_t metadata_blocks, metadata_available;
  };
  Space space() const;
  // Whether a change would be accepted.
  bool has_room() const;
  Result<void> grow_data(uint64_t blocks);
  Result<void> grow_metadata(uint64_t blocks);

  uint64_t transaction_id() const;
  // err::invalid if the current one is another.
  Result<void> set_transaction_id(uint64_t current, uint64_t next);

  // The metadata snapshot: the durable state, held for readers of the device. err::busy, err::not_found.
  Result<void> reserve_metadata_snap(CommitSteps& steps);
  Result<void> release_metadata_snap();
  MetadataBlock held_root() const;

  bool needs_check() const;
  // Sets the flag on the device at once; clearing is check's business.
  Result<void> set_needs_check();

  // True if a commit would write something.
  bool changed() const;
  // Whether a change of a device (ThinDevice::changed_in) is durable. Lock-free.
  bool is_durable(uint64_t transaction) const {
    return transaction <= durable_.load(std::memory_order_acquire);
  }
  // Makes everything until now durable. After an error only abort() helps.
  Result<void> commit(CommitSteps& steps);
  // Back to the durable state. If that cannot be read: err::failed from everything from then on.
  Result<void> abort();

 private:
  PoolMetadata(block::Device& device, cache::Cache& cache);

  Result<void> load(Opening opening) REQUIRES(lock_);
  Result<void> start_empty(uint32_t data_block_sectors) REQUIRES(lock_);
  Result<void> check_usable() const REQUIRES_SHARED(lock_);
  Result<void> check_usable(const ThinDevice& device) const REQUIRES_SHARED(lock_);
  Result<void> check_whole() const REQUIRES_SHARED(lock_);
  // A change that begins and does not come to its end has failed.
  Result<void> begin_change() REQUIRES(lock_);
  void end_change() REQUIRES(lock_) { broken_ = false; }
  Result<void> check_room() const REQUIRES_SHARED(lock_);
  void note_change(ThinDevice& device) REQUIRES(lock_);
  Result<void> reload_device(ThinDevice& device) REQUIRES(lock_);
  Result<ThinDeviceRef> device_locked(DeviceId id) REQUIRES(lock_);
  Result<void> own(ThinDevice& device) REQUIRES(lock_);
  Result<void> put_root(ThinDevice& device) REQUIRES(lock_);
  Result<void> put_devices() REQUIRES(lock_);
  Result<bool> exists(DeviceId id) REQUIRES(lock_);
  Result<void> add_device(DeviceId id, MetadataBlock root, uint64_t mapped_blocks) REQUIRES(lock_);
  uint64_t reserve() const REQUIRES_SHARED(lock_);
  Result<Mapping> mapping_in(NodeView leaf, uint32_t at) const REQUIRES_SHARED(lock_);

  // Its three steps; write_commit() needs no lock: what it writes does not change any more.
  struct Commit {
    const BlockStore* store = nullptr;  // lives: abort() needs the commit's mutex
    BlockStore::Frozen frozen;
    uint64_t data_state = 0;
    uint64_t transaction = 0;
    std::vector<std::byte> superblock;
  };
  Result<std::optional<Commit>> prepare_commit() REQUIRES(commit_mutex_, lock_);
  Result<void> write_commit(Commit& commit, CommitSteps& steps) REQUIRES(commit_mutex_);
  enum class Settled : bool { not_yet, yes };
  Result<void> commit_now(CommitSteps& steps) REQUIRES(commit_mutex_);
  void finish_commit(Commit commit, Settled settled) REQUIRES(commit_mutex_, lock_);

  block::Device& device_;
  cache::Cache& cache_;
  uint32_t data_block_sectors_ = 0;  // constant after format() or open()

  Mutex commit_mutex_{commit_lock};
  mutable SharedMutex lock_{metadata_lock};
  std::unique_ptr<PoolTrees> state_ GUARDED_BY(lock_);
  std::vector<std::byte> superblock_ GUARDED_BY(lock_);  // the durable one, whole
  uint64_t transaction_id_ GUARDED_BY(lock_) = 0;
  uint32_t time_ GUARDED_BY(lock_) = 0;
  MetadataBlock held_root_ GUARDED_BY(lock_){};
  bool changed_ GUARDED_BY(lock_) = false;
  uint64_t transaction_ GUARDED_BY(lock_) = 1;  // the running one, counted from opening
  std::atomic<uint64_t> durable_{0};
  bool failed_ GUARDED_BY(lock_) = false;
  // A change or a commit has failed half-way, and the transaction is not yet given up: nothing of it must
  // become part of another.
  bool broken_ GUARDED_BY(lock_) = false;
  // Those that somebody uses, and until the next commit those that somebody used.
  std::map<DeviceId, ThinDeviceRef> open_ GUARDED_BY(lock_);
  std::map<DeviceId, ThinDeviceRef> dirty_ GUARDED_BY(lock_);  // with details or roots to be put
  std::vector<ThinDeviceRef> in_commit_ GUARDED_BY(lock_);     // whose changes are being committed
};

}  // namespace karst::thin

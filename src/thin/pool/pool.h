// A pool: metadata and data device, what mode they are in, and the volumes that are open.
//
// There is no worker that requests are handed to: the thread that brings a request carries it through, and
// waits only for what it needs (volume.h). A timer commits once a second, ends the waiting for space, and
// keeps memory in bounds.
//
// What holds:
//  1. The data device is flushed after the last change that a commit contains and before its superblock
//  (TH-010).
//  2. A mapping is entered only after the data it leads to was written (TH-011, TH-012, TH-015).
//  3. A data block is given to somebody else only after the transaction that freed it is durable and every
//  request that
//     might have looked its old mapping up has ended (in_flight.h).
//  4. Modes move by one table (mode.h), under one lock; who is told of it finds it done (TH-041).
//  5. After a failure of the metadata nothing is mapped any more; reads, and writes to what is mapped, go on.
//
// Locks: thin.pool-commands → thin.pool-volumes → thin.commit → thin.metadata → thin.mapping-table;
// thin.pool-state and thin.flush-gate are leaves. Thread-safe.
#pragma once
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/device.h"
#include "cache/cache.h"
#include "core/cancel.h"
#include "core/log.h"
#include "core/periodic.h"
#include "core/refcount.h"
#include "thin/metadata/pool_metadata.h"
#include "thin/pool/block_buffers.h"
#include "thin/pool/cells.h"
#include "thin/pool/features.h"
#include "thin/pool/flush_gate.h"
#include "thin/pool/in_flight.h"
#include "thin/pool/mapping_table.h"
#include "thin/pool/mode.h"

namespace karst::thin {

inline constexpr LockClass pool_state_lock{"thin.pool-state"};
inline constexpr LockClass pool_volumes_lock{"thin.pool-volumes"};
inline constexpr LockClass pool_commands_lock{"thin.pool-commands"};

struct PoolOptions {
  std::string name = "pool";  // in messages
  PoolFeatures features;
  uint64_t low_water_blocks = 0;
  size_t lookup_memory = 64 << 20;  // bytes of mapping tables
  std::chrono::nanoseconds commit_period = std::chrono::seconds(1);
  std::chrono::nanoseconds no_space_timeout = std::chrono::seconds(60);  // 0: queue for ever
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  Clock clock = [] { return std::chrono::steady_clock::now(); };
  bool timer = true;  // false: whoever opened the pool calls tick()
  Logger log;
};

class Pool;
class Volume;
// Counted, so that the last handle closes the pool; a count that is full stays so (TH-020).
using PoolRef = Ref<Pool>;
using VolumeRef = Ref<Volume>;

class Pool final : private CommitSteps {
 public:
  // A pool of these devices, which outlive it; block_sectors is compared with what the metadata says.
  // Metadata of zeroes is made a pool; one that has another size than the devices is grown. err::invalid in
  // the kernel's words.
  static Result<PoolRef> open(block::Device& metadata, block::Device& data, cache::Cache& cache,
                              uint32_t block_sectors, PoolOptions options);
  ~Pool() override;
  RefCount& ref_count() { return count_; }

  uint64_t block_size() const { return uint64_t{metadata_->data_block_sectors()} * sector_size; }  // bytes
  const PoolOptions& options() const { return options_; }

  // Volumes are of whole blocks of this many bytes: the least that the data device can write.
  uint32_t sector_bytes() const { return std::max(sector_size, data_.block_size()); }

  // The one volume of this device; who opens it again shares it, and must ask for the same size and origin.
  // The origin, read-only, is outlived by the volume's user. Errors in the kernel's words.
  Result<VolumeRef> open_volume(DeviceId id, uint64_t size, std::shared_ptr<block::Device> origin = nullptr);

  bool is_in_use(DeviceId id);
  // The one that is open, if any.
  VolumeRef volume_in_use(DeviceId id);

  // Pool commands. Each is durable on return. err::unsupported, in the kernel's words, where there can be
  // none.
  Result<void> check_commands() const;
  Result<void> create_thin(DeviceId id);
  // Of a volume in use too: its requests wait meanwhile.
  Result<void> create_snap(DeviceId id, DeviceId origin);
  Result<void> delete_device(DeviceId id);
  Result<void> set_transaction_id(uint64_t current, uint64_t next);
  Result<void> reserve_metadata_snap();
  Result<void> release_metadata_snap();

  // The devices have grown (or not): takes what there is more of, and lets waiting writes go on.
  Result<void> resume();

  // ---- what is to be seen
  struct Status {
    uint64_t transaction_id = 0;
    PoolMetadata::Space space{};
    MetadataBlock held_root{};
    PoolMode mode{};
    bool error_if_no_space = false, needs_check = false;
    bool handle_discards = false, discard_passdown = false;
    uint64_t metadata_low_water = 0;  // blocks
    uint64_t events = 0;
  };
  // Commits first, as the kernel does for a status.
  Status status();
  // Of a device, whether a volume is open or not.
  struct DeviceStatus {
    PoolMetadata::Details details;
    std::optional<block::IoCounts> requests;  // of the volume that is open
  };
  Result<DeviceStatus> status(DeviceId id);
  PoolMode mode() const;
  uint64_t events() const;
  // Returns how many there were once that is more than this many, when the pool is being closed, or when the
  // token is cancelled, of which wake_waiting() tells.
  uint64_t wait_for_event(uint64_t after, CancelToken cancel = {}) const;
  // Lets those who wait go.
  void stop_waiting();
  // Those who wait, for events or for space, look again at whether they are still wanted.
  void wake_waiting();
  // Called after each event, without locks, in the thread that caused it. Not from within one.
  void on_event(std::function<void()> subscriber);
  // Threads woken by others' requests, since the start (TH-052).
  uint64_t wake_ups() const { return cells_.wake_ups() + in_flight_.wake_ups(); }

  // Commits if something changed. The error is that of this commit; the pool is read-only after it.
  Result<void> commit();
  // What is due by the clock.
  void tick();
  // Commits, and waits until everything that was freed can be used again (TH-051).
  Result<void> quiesce();

  // ---- for volumes
  void forget(const Volume& volume);
  PoolMetadata& metadata() { return *metadata_; }
  block::Device& data() { return data_; }
  Cells& cells() { return cells_; }
  InFlight& in_flight() { return in_flight_; }
  BlockBuffers& buffers() { return buffers_; }
  PageBudget& pages() { return pages_; }
  FlushGate& data_flushes() { return data_flushes_; }
  bool handles_discards() const { return options_.features.handle_discards; }
  bool passes_discards_down() const { return passdown_; }

  // In debug builds, reports a thread that has not made itself the only one that holds volumes still
  // (TH-029).
  void assert_one_snapshot() const { commands_mutex_.assert_held(); }

  // A block for a new mapping. When there is none: waits until there is, or fails, as configured (TH-031).
  // The caller holds no pass. err::no_space; err::io if the pool can provision no more; err::cancelled if the
  // waiting is given up, of which wake_waiting() tells.
  Result<DataBlock> reserve_block(const std::atomic<bool>& given_up);
  // Makes a change of the metadata. If there is no room for it, commits, which frees what the transaction has
  // replaced, and tries again; if that does not help the pool is out of metadata space. Another failure gives
  // the transaction up and makes the pool read-only. Either is an I/O error for clients. The caller holds no
  // pass.
  Result<void> change(const char* operation, FunctionRef<Result<void>()> make);
  // As changes of the metadata are allowed: err::io if not.
  Result<void> check_can_provision() const;
  // Everything of this device, and the data written until now, is durable.
  Result<void> make_durable(const ThinDevice& device);

 private:
  Pool(block::Device& metadata_device, block::Device& data, std::unique_ptr<PoolMetadata> metadata,
       PoolOptions options);
  Result<void> start();
  Result<void> command(const char* operation, FunctionRef<Result<void>()> make);
  Error failed(const char* operation, Error error);
  void give_up_transaction();

  Result<void> flush_data() override { return data_flushes_.flush(); }
  void settle() override { in_flight_.drain(); }

  // Mode and events. Each returns whether there is an event, which is told without the lock.
  void set_mode(PoolMode wish);
  bool set_mode_locked(PoolMode wish) REQUIRES(state_mutex_);
  void count_event_locked() REQUIRES(state_mutex_);
  void tell_event();
  void check_space();
  void check_low_water();
  void trim_lookup_memory();

  RefCount count_;
  const PoolOptions options_;
  block::Device& metadata_device_;
  block::Device& data_;
  const std::unique_ptr<PoolMetadata> metadata_;
  bool passdown_ = false;  // constant after start()
  Cells cells_;
  InFlight in_flight_;
  BlockBuffers buffers_;
  PageBudget pages_;
  FlushGate data_flushes_;

  mutable Mutex state_mutex_{pool_state_lock};
  mutable CondVar state_changed_;
  PoolMode mode_ GUARDED_BY(state_mutex_) = PoolMode::write;
  bool error_if_no_space_ GUARDED_BY(state_mutex_) =
      false;  // at present: configured, or the waiting took too long
  std::optional<std::chrono::steady_clock::time_point> no_space_since_ GUARDED_BY(state_mutex_);
  bool low_water_told_ GUARDED_BY(state_mutex_) = false;
  bool metadata_low_water_told_ GUARDED_BY(state_mutex_) = false;
  uint64_t events_ GUARDED_BY(state_mutex_) = 0;
  std::chrono::steady_clock::time_point committed_at_ GUARDED_BY(state_mutex_);
  std::vector<std::function<void()>> subscribers_ GUARDED_BY(state_mutex_);
  bool released_ GUARDED_BY(state_mutex_) = false;
  std::atomic<PoolMode> seen_mode_{PoolMode::write};  // mode_, for those who only look

  Mutex volumes_mutex_{pool_volumes_lock};
  // Until their ends: one whose count is 0 may still be here.
  std::map<DeviceId, Volume*> volumes_ GUARDED_BY(volumes_mutex_);

  Mutex commands_mutex_{pool_commands_lock};  // one snapshot at a time: who freezes a volume also thaws it

  std::unique_ptr<Periodic> timer_;
};

}  // namespace karst::thin

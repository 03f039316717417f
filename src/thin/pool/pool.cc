#include "thin/pool/pool.h"

#include <algorithm>

#include "core/without_throwing.h"
#include "thin/format/errors.h"
#include "thin/pool/volume.h"

namespace karst::thin {
namespace {

// Composing and copying blocks: as many at once, and in pieces of this size.
constexpr size_t buffer_count = 16;
constexpr uint64_t buffer_size_max = 1 << 20;

// Below this, the metadata's low water mark. Source: Linux drivers/md/dm-thin.c, calc_metadata_threshold: 4
// MiB, at most a quarter.
constexpr uint64_t metadata_low_water_max = (4 << 20) / metadata_block_size;

constexpr size_t page_bytes = MappingTable::page_entries * sizeof(uint64_t);

Error cannot_provision() { return Error(err::io, "the pool can map no new blocks"); }

}  // namespace

// ---- opening

Pool::Pool(block::Device& metadata_device, block::Device& data, std::unique_ptr<PoolMetadata> metadata,
           PoolOptions options)
    : options_(std::move(options)),
      metadata_device_(metadata_device),
      data_(data),
      metadata_(std::move(metadata)),
      buffers_(buffer_count, std::min(buffer_size_max, block_size())),
      pages_(std::max<uint64_t>(options_.lookup_memory / page_bytes, 4)),
      data_flushes_(data),
      error_if_no_space_(options_.features.error_if_no_space),
      committed_at_(options_.clock()) {}

Result<PoolRef> Pool::open(block::Device& metadata_device, block::Device& data, cache::Cache& cache,
                           uint32_t block_sectors, PoolOptions options) {
  if (metadata_device.identity() == data.identity())
    return Error(err::invalid, "Error setting metadata or data device").at("device", data.name());
  if (!is_data_block_size(block_sectors)) return Error(err::invalid, "Invalid block size");
  std::vector<std::byte> first(metadata_block_size);
  TRY(metadata_device.read(0, first));
  auto metadata =
      TRY(all_zero(first) && !options.features.read_only
              ? PoolMetadata::format(metadata_device, cache, block_sectors)
              : PoolMetadata::open(metadata_device, cache,
                                   options.features.read_only ? Opening::for_reading : Opening::for_writing));
  if (metadata->data_block_sectors() != block_sectors)
    return Error::make(err::invalid, "changing the data block size (from {} to {}) is not supported",
                       metadata->data_block_sectors(), block_sectors);
  auto pool = PoolRef::adopt(new Pool(metadata_device, data, std::move(metadata), std::move(options)));
  TRY(pool->start());
  return pool;
}

Result<void> Pool::start() {
  passdown_ = options_.features.discard_passdown && options_.features.handle_discards;
  if (options_.features.read_only)
    set_mode(PoolMode::read_only);
  else if (metadata_->needs_check()) {
    options_.log.warning("unable to switch pool to write mode until repaired.", {{"pool", options_.name}});
    set_mode(PoolMode::read_only);
  }
  TRY(resume());
  if (!options_.timer) return {};
  const auto period = std::clamp<std::chrono::nanoseconds>(
      options_.commit_period / 4, std::chrono::milliseconds(10), std::chrono::milliseconds(250));
  timer_ = TRY(Periodic::start(period, [this] {
    const auto ticked = without_throwing([this]() -> Result<void> {
      tick();
      return {};
    });
    if (!ticked)
      options_.log.warning("what was due was not done", {{"pool", options_.name}}, &ticked.error());
    return true;
  }));
  return {};
}

Pool::~Pool() {
  timer_.reset();
  if (can_change(mode())) {
    if (auto committed = commit(); !committed)
      options_.log.error("last changes are lost", {{"pool", options_.name}}, &committed.error());
  }
}

// ---- growing

Result<void> Pool::resume() {
  const uint64_t data_blocks = data_.size() / block_size();
  const uint64_t metadata_blocks =
      std::min(metadata_device_.size() / metadata_block_size, metadata_blocks_max);
  const auto space = metadata_->space();
  if (data_blocks < space.data_blocks)
    return Error::make(err::invalid, "pool target ({} blocks) too small: expected {}", data_blocks,
                       space.data_blocks);
  if (metadata_blocks < space.metadata_blocks)
    return Error::make(err::invalid, "metadata device ({} blocks) too small: expected {}", metadata_blocks,
                       space.metadata_blocks);
  if (mode() == PoolMode::read_only || mode() == PoolMode::fail) return {};
  if (metadata_blocks > space.metadata_blocks) {
    options_.log.info(fmt::format("growing the metadata device from {} to {} blocks", space.metadata_blocks,
                                  metadata_blocks),
                      {{"pool", options_.name}});
    if (auto grown = metadata_->grow_metadata(metadata_blocks); !grown)
      return failed("dm_pool_resize_metadata_dev", std::move(grown).error());
  }
  if (data_blocks > space.data_blocks) {
    if (space.data_blocks != 0)
      options_.log.info(
          fmt::format("growing the data device from {} to {} blocks", space.data_blocks, data_blocks),
          {{"pool", options_.name}});
    TRY(change("dm_pool_resize_data_dev", [&] { return metadata_->grow_data(data_blocks); }));
  }
  {
    MutexLock lock(state_mutex_);
    low_water_told_ = metadata_low_water_told_ = false;
  }
  const bool grew = metadata_blocks > space.metadata_blocks || data_blocks > space.data_blocks;
  if (grew) {
    set_mode(PoolMode::write);
    TRY(commit());
  }
  return {};
}

// ---- modes and events

PoolMode Pool::mode() const { return seen_mode_.load(std::memory_order_acquire); }

bool Pool::set_mode_locked(PoolMode wish) {
  const PoolMode from = mode_;
  const PoolMode to = next_mode(from, wish, metadata_->needs_check());
  if (to == from) return false;
  mode_ = to;
  // Whatever ended the lack of space ends the waiting for it, and with it what the waiting had become
  // (TH-033).
  error_if_no_space_ = options_.features.error_if_no_space;
  no_space_since_.reset();
  if (to == PoolMode::out_of_data_space) no_space_since_ = options_.clock();
  // Last: who sees the mode without the lock finds the rest of it done, the time above all.
  seen_mode_.store(to, std::memory_order_release);
  count_event_locked();
  options_.log.info(fmt::format("switching pool to {} mode", describe(to, error_if_no_space_)),
                    {{"pool", options_.name}});
  return true;
}

void Pool::count_event_locked() {
  ++events_;
  state_changed_.notify_all();
}

void Pool::set_mode(PoolMode wish) {
  bool changed = false;
  {
    MutexLock lock(state_mutex_);
    changed = set_mode_locked(wish);
  }
  if (changed) tell_event();
}

void Pool::tell_event() {
  std::vector<std::function<void()>> subscribers;
  {
    MutexLock lock(state_mutex_);
    subscribers = subscribers_;
  }
  for (const auto& subscriber : subscribers) subscriber();
}

uint64_t Pool::events() const {
  MutexLock lock(state_mutex_);
  return events_;
}

uint64_t Pool::wait_for_event(uint64_t after, CancelToken cancel) const {
  MutexLock lock(state_mutex_);
  while (events_ <= after && !released_ && !cancel.cancelled()) state_changed_.wait(state_mutex_);
  return events_;
}

void Pool::wake_waiting() {
  MutexLock lock(state_mutex_);
  state_changed_.notify_all();
}

void Pool::stop_waiting() {
  MutexLock lock(state_mutex_);
  released_ = true;
  state_changed_.notify_all();
}

void Pool::on_event(std::function<void()> subscriber) {
  MutexLock lock(state_mutex_);
  subscribers_.push_back(std::move(subscriber));
}

// Once when the free blocks come down to the mark; again after the pool was resumed.
void Pool::check_low_water() {
  const auto space = metadata_->space();
  bool event = false;
  {
    MutexLock lock(state_mutex_);
    if (space.data_available <= options_.low_water_blocks && !low_water_told_) {
      low_water_told_ = event = true;
      count_event_locked();
      options_.log.warning("reached low water mark for data device: sending event.",
                           {{"pool", options_.name}});
    }
  }
  if (event) tell_event();
}

// After a commit: whether there is room again, or none any more.
void Pool::check_space() {
  const auto space = metadata_->space();
  const uint64_t mark = std::min(metadata_low_water_max, space.metadata_blocks / 4);
  bool event = false;
  {
    MutexLock lock(state_mutex_);
    if (space.metadata_available >= mark) metadata_low_water_told_ = false;
    if (space.metadata_available < mark && !metadata_low_water_told_) {
      metadata_low_water_told_ = event = true;
      count_event_locked();
      options_.log.warning("reached low water mark for metadata device: sending event.",
                           {{"pool", options_.name}});
    }
    if (space.metadata_available == 0)
      event |= set_mode_locked(PoolMode::out_of_metadata_space);
    else if (mode_ == PoolMode::out_of_data_space && space.data_available > 0)
      event |= set_mode_locked(PoolMode::write);
  }
  if (event) tell_event();
}

// ---- blocks

Result<void> Pool::check_can_provision() const {
  if (!can_provision(mode())) return cannot_provision();
  return {};
}

Result<DataBlock> Pool::reserve_block(const std::atomic<bool>& given_up) {
  for (;;) {
    TRY(check_can_provision());
    check_low_water();
    std::optional<DataBlock> reserved;
    TRY(change("dm_pool_alloc_data_block", [&]() -> Result<void> {
      reserved = TRY(metadata_->reserve_block());
      return {};
    }));
    if (reserved) return *reserved;
    // What was freed since the last commit can be used after it.
    if (metadata_->changed()) TRY(commit());
    if (metadata_->space().data_available > 0) continue;
    set_mode(PoolMode::out_of_data_space);
    // A commit that freed blocks since they were looked for saw no lack of them, and wakes nobody.
    check_space();
    MutexLock lock(state_mutex_);
    while (mode_ == PoolMode::out_of_data_space && !error_if_no_space_ && !released_ && !given_up)
      state_changed_.wait(state_mutex_);
    if (given_up) return Error(err::cancelled, "waiting for space was given up").at("pool", options_.name);
    if (mode_ == PoolMode::out_of_data_space)
      return Error(err::no_space, "the pool has no free data block").at("pool", options_.name);
  }
}

Result<void> Pool::change(const char* operation, FunctionRef<Result<void>()> make) {
  auto made = make();
  if (!made && made.error().is(err::no_space)) {
    // Refused before anything was changed.
    TRY(commit());
    if (metadata_->has_room()) made = make();
    if (!made && made.error().is(err::no_space)) {
      set_mode(PoolMode::out_of_metadata_space);
      return cannot_provision();
    }
  }
  if (!made) return failed(operation, std::move(made).error());
  return {};
}

Error Pool::failed(const char* operation, Error error) {
  options_.log.error(
      fmt::format("metadata operation '{}' failed: error = {}", operation, -error.errno_value()),
      {{"pool", options_.name}}, &error);
  give_up_transaction();
  return cannot_provision();
}

void Pool::give_up_transaction() {
  options_.log.error("aborting current metadata transaction", {{"pool", options_.name}});
  // From here on nothing is changed: what others are about to change meets a transaction that is over.
  set_mode(PoolMode::read_only);
  auto aborted = metadata_->abort();
  // Blocks that only the lost transaction had may still be written to.
  in_flight_.drain();
  if (!aborted) {
    options_.log.error("failed to abort metadata transaction", {{"pool", options_.name}}, &aborted.error());
    set_mode(PoolMode::fail);
  }
  if (auto set = metadata_->set_needs_check(); !set)
    options_.log.error("failed to set 'needs_check' flag in metadata", {{"pool", options_.name}},
                       &set.error());
}

// ---- commits

Result<void> Pool::commit() {
  if (!can_change(mode())) return cannot_provision();
  {
    MutexLock lock(state_mutex_);
    committed_at_ = options_.clock();
  }
  if (auto committed = metadata_->commit(*this); !committed)
    return failed("dm_pool_commit_metadata", std::move(committed).error());
  check_space();
  return {};
}

Result<void> Pool::make_durable(const ThinDevice& device) {
  // Taken first: a flush that is running already need not contain what was written last (TH-013).
  const uint64_t ticket = data_flushes_.ticket();
  if (!metadata_->is_durable(device.changed_in())) TRY(commit());
  return data_flushes_.ensure(ticket);
}

Result<void> Pool::quiesce() {
  TRY(commit());
  in_flight_.drain();
  return commit();
}

void Pool::tick() {
  const auto now = options_.clock();
  bool commit_is_due = false, event = false;
  {
    MutexLock lock(state_mutex_);
    commit_is_due = now - committed_at_ >= options_.commit_period;
    const bool waits =
        mode_ == PoolMode::out_of_data_space && !error_if_no_space_ && no_space_since_.has_value();
    if (waits && options_.no_space_timeout.count() != 0 &&
        now - *no_space_since_ >= options_.no_space_timeout) {
      error_if_no_space_ = event = true;
      count_event_locked();
      options_.log.info(fmt::format("switching pool to {} mode", describe(mode_, true)),
                        {{"pool", options_.name}});
    }
  }
  if (event) tell_event();
  if (commit_is_due && can_change(mode()) && metadata_->changed()) {
    if (auto committed = commit(); !committed)
      options_.log.error("the timer's commit failed", {{"pool", options_.name}}, &committed.error());
  }
  if (pages_.is_short()) trim_lookup_memory();
}

// Under the lock, and not by references: the last one of a volume may be the last of the pool, which must not
// end in its own timer.
void Pool::trim_lookup_memory() {
  std::vector<MappingTable::Pages> taken;
  {
    MutexLock lock(volumes_mutex_);
    for (const auto& [id, volume] : volumes_) taken.push_back(volume->take_pages());
  }
  in_flight_.drain();
}

// ---- volumes and commands

Result<VolumeRef> Pool::open_volume(DeviceId id, uint64_t size, std::shared_ptr<block::Device> origin) {
  if (id > max_device_id) return Error(err::invalid, "Invalid device id");
  if (size % sector_bytes() != 0)
    return Error(err::invalid, "the volume's size is not of whole blocks of the data device")
        .at("volume", id)
        .expected(fmt::format("a multiple of {}", sector_bytes()), size);
  if (origin && (origin->identity() == data_.identity() || origin->identity() == metadata_device_.identity()))
    return Error(err::invalid, "Error setting origin device").at("device", origin->name());
  VolumeRef volume;  // outlives the lock, which its end may take
  MutexLock lock(volumes_mutex_);
  const auto known = volumes_.find(id);
  if (known != volumes_.end()) volume = VolumeRef::try_share(*known->second);
  if (volume) {
    if (volume->size() != size || volume->origin() != origin.get())
      return Error::make(err::busy, "thin device {} is open with another size or origin", id);
    return volume;
  }
  auto device = metadata_->open_device(id);
  if (!device) return std::move(device).error().while_doing("Couldn't open thin internal device");
  volume = VolumeRef::adopt(new Volume(PoolRef::share(*this), *std::move(device), size, std::move(origin)));
  volumes_[id] = volume.get();
  return volume;
}

VolumeRef Pool::volume_in_use(DeviceId id) {
  MutexLock lock(volumes_mutex_);
  const auto open = volumes_.find(id);
  return open == volumes_.end() ? nullptr : VolumeRef::try_share(*open->second);
}

bool Pool::is_in_use(DeviceId id) {
  MutexLock lock(volumes_mutex_);
  return volumes_.contains(id);
}

void Pool::forget(const Volume& volume) {
  MutexLock lock(volumes_mutex_);
  const auto known = volumes_.find(volume.id());
  // Another may have been opened meanwhile.
  if (known != volumes_.end() && known->second == &volume) volumes_.erase(known);
}

Result<void> Pool::check_commands() const {
  if (!can_change(mode()))
    return Error(err::unsupported, "unable to service pool target messages in READ_ONLY or FAIL mode");
  return {};
}

// What a refused command leaves as it was is the caller's to hear; whatever one did is made durable.
Result<void> Pool::command(const char* operation, FunctionRef<Result<void>()> make) {
  TRY(check_commands());
  std::optional<Error> refused;
  TRY(change(operation, [&]() -> Result<void> {
    auto made = make();
    if (made) return {};
    const Error& why = made.error();
    if (!why.is(err::exists) && !why.is(err::no_device) && !why.is(err::busy) && !why.is(err::invalid))
      return made;
    refused = std::move(made).error();
    return {};
  }));
  if (refused) return *std::move(refused);
  return commit();
}

Result<void> Pool::create_thin(DeviceId id) {
  if (id > max_device_id) return Error(err::invalid, "Invalid device id");
  return command("dm_pool_create_thin", [&] { return metadata_->create_thin(id); });
}

Result<void> Pool::create_snap(DeviceId id, DeviceId origin) {
  if (id > max_device_id) return Error(err::invalid, "Invalid device id");
  MutexLock one(commands_mutex_);
  const VolumeRef volume = volume_in_use(origin);
  return command("dm_pool_create_snap", [&] {
    // What was written before is in the snapshot, what comes after is not.
    const Volume::Standstill still(volume.get());
    return metadata_->create_snap(id, origin);
  });
}

Result<void> Pool::delete_device(DeviceId id) {
  return command("dm_pool_delete_thin_device", [&] { return metadata_->delete_device(id); });
}

Result<void> Pool::set_transaction_id(uint64_t current, uint64_t next) {
  return command("dm_pool_set_metadata_transaction_id",
                 [&] { return metadata_->set_transaction_id(current, next); });
}

Result<void> Pool::reserve_metadata_snap() {
  return command("dm_pool_reserve_metadata_snap", [&] { return metadata_->reserve_metadata_snap(*this); });
}

Result<void> Pool::release_metadata_snap() {
  return command("dm_pool_release_metadata_snap", [&] { return metadata_->release_metadata_snap(); });
}

// Without references: who looks is no user.
Result<Pool::DeviceStatus> Pool::status(DeviceId id) {
  DeviceStatus status{.details = TRY(metadata_->details(id)), .requests = {}};
  MutexLock lock(volumes_mutex_);
  if (const auto open = volumes_.find(id); open != volumes_.end()) status.requests = open->second->counts();
  return status;
}

Pool::Status Pool::status() {
  if (can_change(mode()) && metadata_->changed()) {
    if (auto committed = commit(); !committed)
      options_.log.warning("a status is of what was committed before", {{"pool", options_.name}},
                           &committed.error());
  }
  Status status;
  status.transaction_id = metadata_->transaction_id();
  status.space = metadata_->space();
  status.held_root = metadata_->held_root();
  status.needs_check = metadata_->needs_check();
  status.handle_discards = options_.features.handle_discards;
  status.discard_passdown = passdown_;
  status.metadata_low_water = std::min(metadata_low_water_max, status.space.metadata_blocks / 4);
  MutexLock lock(state_mutex_);
  status.mode = mode_;
  status.error_if_no_space = error_if_no_space_;
  status.events = events_;
  return status;
}

}  // namespace karst::thin

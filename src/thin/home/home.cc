#include "thin/home/home.h"

#include <unistd.h>

#include <algorithm>

#include "block/disk_image.h"
#include "core/without_throwing.h"
#include "thin/format/errors.h"
#include "thin/format/superblock.h"
#include "thin/pool/message.h"

namespace karst::thin {
namespace {

constexpr uint64_t sparse_metadata_min = 64 << 20;

using State = VolumeEntry::State;
// What a crash may undo: who next opens the pool does it again.
constexpr DescriptionStore::Durable later = DescriptionStore::Durable::with_the_next;

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

// The size of a device that is there; and what its superblock says, if it holds a pool.
struct Found {
  uint64_t size = 0;
  std::string identity;
  std::optional<Superblock> super;
};
Result<Found> look_at(const std::string& path) {
  auto device = TRY(block::open_device(path, block::OpenMode::read_only));
  Found found{device->size(), device->identity(), {}};
  std::vector<std::byte> block(metadata_block_size);
  if (device->size() < metadata_block_size) return found;
  TRY(device->read(0, block));
  if (check_seal(BlockKind::superblock, superblock_at, block)) found.super = *overlay<Superblock>(block);
  return found;
}

Result<PoolDescription> describe(const NewPool& wanted) {
  PoolDescription pool;
  pool.uuid = Uuid::random();
  pool.metadata = wanted.metadata;
  pool.data = wanted.data;
  pool.block_sectors = wanted.block_sectors;
  pool.low_water_blocks = wanted.low_water_blocks;
  pool.no_space_timeout_seconds = wanted.no_space_timeout_seconds;
  pool.features = wanted.features;
  pool.data_size = wanted.data_size;
  if (!wanted.data.empty() && !wanted.metadata.empty() &&
      TRY(look_at(wanted.data)).identity == TRY(look_at(wanted.metadata)).identity)
    return Error(err::invalid, "Error setting metadata or data device").at("device", wanted.data);
  if (!wanted.data.empty()) {
    const uint64_t size = TRY(look_at(wanted.data)).size;
    if (pool.data_size == 0) pool.data_size = size;
    if (pool.data_size > size)
      return Error(err::invalid, "the data device is smaller")
          .at("device", wanted.data)
          .expected(pool.data_size, size);
  }
  if (!is_data_block_size(pool.block_sectors)) return Error(err::invalid, "Invalid block size");
  const uint64_t block = uint64_t{pool.block_sectors} * sector_size;
  if (wanted.data.empty()) pool.data_size = round_up(pool.data_size, block);
  if (pool.data_size < block) return Error(err::invalid, "a pool needs a size of at least one block");
  pool.metadata_size = wanted.metadata_size != 0 ? round_up(wanted.metadata_size, metadata_block_size)
                                                 : suitable_metadata_size(pool.data_size, pool.block_sectors);
  if (!wanted.metadata.empty()) {
    const Found found = TRY(look_at(wanted.metadata));
    pool.metadata_size = found.size;
    if (found.super && found.super->data_block_size != wanted.block_sectors)
      return Error::make(err::invalid, "the metadata is of a pool with blocks of {} sectors",
                         found.super->data_block_size.value());
  }
  return pool;
}

// A pool's file may be made anew, but not so that a pool's metadata has the data device of none, or of
// another (TH-022).
Result<void> check_same_pool(const std::string& path, const NewPool& wanted) {
  if (wanted.metadata.empty()) return {};
  const auto file = PoolFile::open(path, block::OpenMode::read_only);
  if (!file) {
    const bool is_none =
        file.error().is(err::not_found) || file.error().is(err::corrupt) || file.error().is(err::checksum);
    return is_none ? Result<void>() : file.error().clone();
  }
  const PoolDescription& described = (*file)->description();
  if (described.metadata != wanted.metadata || described.data == wanted.data) return {};
  if (!TRY(look_at(wanted.metadata)).super) return {};
  return Error(err::invalid, "the data device of a pool cannot be changed")
      .at("pool", path)
      .expected(described.data.empty() ? "the pool's file" : described.data,
                wanted.data.empty() ? "the pool's file" : wanted.data);
}

}  // namespace

uint64_t suitable_metadata_size(uint64_t data_size, uint32_t block_sectors) {
  const uint64_t blocks = data_size / (uint64_t{block_sectors} * sector_size);
  const uint64_t most = metadata_blocks_max * metadata_block_size;
  if (blocks > most / 128) return most;
  return std::clamp(round_up(blocks * 128, metadata_block_size), sparse_metadata_min, most);
}

Result<bool> holds_pool(const std::string& device) { return TRY(look_at(device)).super.has_value(); }

Home::Home(std::unique_ptr<PoolFile> file, HomeOptions options)
    : options_(std::move(options)), file_(std::move(file)), cache_({.limit = options_.cache_size}) {}

Home::~Home() = default;

Result<std::unique_ptr<Home>> Home::create(const std::string& path, const NewPool& wanted,
                                           HomeOptions options) {
  if (wanted.replace) TRY(check_same_pool(path, wanted));
  auto file = TRY(PoolFile::create(path, TRY(describe(wanted)), wanted.replace));
  std::unique_ptr<Home> home(new Home(std::move(file), std::move(options)));
  auto started = home->start();
  MutexLock lock(home->mutex_);
  if (started) {
    home->adopt_devices();
    return home;
  }
  // What is no pool is not left looking like one.
  ::unlink(path.c_str());
  return std::move(started).error();
}

Result<std::unique_ptr<Home>> Home::open(const std::string& path, HomeOptions options) {
  auto file = TRY(PoolFile::open(path, block::OpenMode::read_write));
  std::unique_ptr<Home> home(new Home(std::move(file), std::move(options)));
  TRY(home->start());
  MutexLock lock(home->mutex_);
  if (home->file_->store().found_damage())
    home->options_.log.warning("a copy of the pool's description is damaged, and the other one used",
                               {{"pool", path}});
  TRY(home->end_unfinished());
  home->adopt_devices();
  return home;
}

Result<void> Home::start() {
  const PoolDescription& described = file_->description();
  PoolOptions options;
  options.name = file_->path();
  options.features = described.features;
  options.low_water_blocks = described.low_water_blocks;
  options.no_space_timeout = std::chrono::seconds(described.no_space_timeout_seconds);
  options.timer = options_.timer;
  options.log = options_.log;
  pool_ = TRY(Pool::open(*TRY(file_->metadata()), *TRY(file_->data()), cache_, described.block_sectors,
                         std::move(options)));
  return {};
}

PoolDescription Home::description() const {
  MutexLock lock(mutex_);
  return file_->description();
}

// ---- what a crash left half done

Result<void> Home::end_unfinished() {
  if (!can_change(pool_->mode())) return {};
  const auto there = TRY(pool_->metadata().devices());
  std::vector<VolumeEntry> unfinished;
  for (const VolumeEntry& volume : file_->description().volumes)
    if (volume.state != State::ready || !std::ranges::binary_search(there, volume.id))
      unfinished.push_back(volume);
  for (const VolumeEntry& volume : unfinished) {
    const bool is_there = std::ranges::binary_search(there, volume.id);
    if (volume.state == State::creating && is_there) {
      TRY(set_state(volume.id, State::ready));
      continue;
    }
    if (is_there) TRY(pool_->delete_device(volume.id));
    if (volume.state == State::ready)
      options_.log.warning("the metadata has no such device any more: its name is forgotten",
                           {{"pool", path()}, {"volume", volume.name}});
    TRY(file_->store().remove(volume.id));
  }
  return {};
}

// Devices that somebody else has made, or whose description was lost, get a name. Those that cannot have
// none.
void Home::adopt_devices() {
  auto adopted = [&]() REQUIRES(mutex_) -> Result<void> {
    for (const DeviceId id : TRY(pool_->metadata().devices())) {
      if (file_->description().volumes.at(id) != nullptr) continue;
      const auto highest = TRY(pool_->status(id)).details.highest_mapped;
      const uint64_t blocks = highest ? raw(*highest) + 1 : 0;
      std::string name = fmt::format("thin-{}", id);
      for (unsigned i = 2; file_->description().volumes.has_name(name); ++i)
        name = fmt::format("thin-{}-{}", id, i);
      TRY(file_->store().put({.id = id, .name = std::move(name), .size = blocks * pool_->block_size()}));
    }
    return {};
  }();
  if (!adopted)
    options_.log.warning("not all devices of the pool can be named", {{"pool", path()}}, &adopted.error());
}

// ---- volumes

Result<void> Home::check_size(uint64_t size) const {
  const uint32_t unit = pool_->sector_bytes();
  if (size != 0 && size % unit == 0) return {};
  return Error::make(err::invalid, "a volume's size is a multiple of {} bytes, and not 0", unit)
      .expected("such a size", size);
}

Result<VolumeEntry> Home::find(const std::string& name_or_id) const {
  if (const VolumeEntry* found = file_->description().volumes.find(name_or_id)) return *found;
  return Error::make(err::no_device, "the pool has no volume '{}'", name_or_id);
}

Result<VolumeEntry> Home::volume(const std::string& name_or_id) const {
  MutexLock lock(mutex_);
  return find(name_or_id);
}

Result<DeviceId> Home::choose_id(std::optional<DeviceId> wanted) const {
  const VolumeTable& volumes = file_->description().volumes;
  if (!wanted) wanted = volumes.free_id();
  if (!wanted) return Error(err::limit, "the pool has as many devices as there are ids");
  if (*wanted > max_device_id) return Error::make(err::invalid, "Invalid device id: {}", *wanted);
  if (volumes.at(*wanted) != nullptr)
    return Error::make(err::exists, "the pool has a volume with id {}", *wanted);
  return *wanted;
}

Result<void> Home::set_state(DeviceId id, State state, DescriptionStore::Durable durable) {
  const VolumeEntry* known = file_->description().volumes.at(id);
  if (known == nullptr) return Error::make(err::no_device, "the pool has no volume {}", id);
  VolumeEntry volume = *known;
  volume.state = state;
  return file_->store().put(std::move(volume), durable);
}

Result<void> Home::check_new_name(const std::string& name) const {
  TRY(check_volume_name(name));
  if (file_->description().volumes.has_name(name))
    return Error::make(err::exists, "the pool has a volume '{}'", name);
  return {};
}

// Known before it is there, there before it is shown. Whether it came to that, its device tells who next
// opens the pool.
Result<VolumeEntry> Home::add(VolumeEntry entry, FunctionRef<Result<void>()> make) {
  TRY(check_new_name(entry.name));
  TRY(file_->store().put(entry));
  if (auto made = make(); !made) {
    TRY(file_->store().remove(entry.id, later));
    return std::move(made).error();
  }
  if (entry.state == State::importing) return entry;
  entry.state = State::ready;
  TRY(file_->store().put(entry, later));
  return entry;
}

Result<VolumeEntry> Home::add_volume(const std::string& name, uint64_t size, const std::string& origin,
                                     std::optional<DeviceId> id) {
  MutexLock lock(mutex_);
  TRY(check_size(size));
  const DeviceId new_id = TRY(choose_id(id));
  return add({.id = new_id, .name = name, .size = size, .origin = origin, .state = State::creating},
             [&] { return pool_->create_thin(new_id); });
}

Result<VolumeEntry> Home::import_volume(const ImportRequest& request, CancelToken cancel) {
  {
    MutexLock lock(mutex_);
    TRY(check_new_name(request.name));
  }
  Imports::Running running(imports_, request.name, std::move(cancel));
  if (running.is_second()) return Error::make(err::exists, "a volume '{}' is being imported", request.name);
  auto imported = without_throwing([&] { return import_running(request, running); });
  if (!imported) return running.failed(std::move(imported).error());
  return imported;
}

Result<VolumeEntry> Home::import_running(const ImportRequest& request, Imports::Running& running) {
  const auto source =
      TRY(block::open_disk_image(request.from, request.format, options_.open, running.token()));
  const uint64_t least = round_up(source->size(), pool_->sector_bytes());
  const uint64_t size = request.size.value_or(least);
  TRY(check_size(size));
  if (size < least)
    return Error(err::invalid, "the volume would be smaller than what it is to hold")
        .expected(fmt::format("at least {}", least), size);
  VolumeEntry entry{.name = request.name, .size = size, .state = State::importing};
  {
    MutexLock lock(mutex_);
    entry.id = TRY(choose_id(request.id));
    entry = TRY(add(entry, [&] { return pool_->create_thin(entry.id); }));
  }
  running.set_id(entry.id);
  VolumeRef volume;  // in use until its state is set: nobody deletes it
  auto filled = without_throwing([&]() -> Result<void> {
    volume = TRY(pool_->open_volume(entry.id, entry.size));
    return running.copy(*source, *volume, pool_->block_size());
  });
  MutexLock lock(mutex_);
  if (filled) filled = set_state(entry.id, State::ready);
  if (filled) {
    entry.state = State::ready;
    return entry;
  }
  volume.reset();
  // What cannot be deleted now is when the pool is next opened.
  auto gone = pool_->delete_device(entry.id);
  if (gone) gone = file_->store().remove(entry.id, later);
  if (!gone)
    options_.log.warning("what was imported in vain is left until the pool is next opened",
                         {{"pool", path()}, {"volume", entry.name}}, &gone.error());
  return std::move(filled).error();
}

void Home::stop() {
  stopping_.cancel();
  imports_.end_all();
  pool_->stop_waiting();
}

Result<VolumeEntry> Home::add_snapshot(const std::string& of, const std::string& name, bool read_only,
                                       std::optional<DeviceId> id) {
  MutexLock lock(mutex_);
  const VolumeEntry origin = TRY(find(of));
  VolumeEntry entry = origin;
  entry.id = TRY(choose_id(id));
  entry.name = name;
  entry.snapshot_of = origin.name;
  entry.read_only = read_only;
  entry.state = State::creating;
  const DeviceId new_id = entry.id;
  return add(std::move(entry), [&] { return pool_->create_snap(new_id, origin.id); });
}

Result<void> Home::remove_volume(const std::string& name_or_id) {
  const bool ended = imports_.end(name_or_id);
  MutexLock lock(mutex_);
  // It may have come to its end just before; or what there is of it cannot be deleted now.
  if (ended && file_->description().volumes.find(name_or_id) == nullptr) {
    for (const VolumeEntry& volume : file_->description().volumes)
      if (means_volume(name_or_id, volume.name, volume.id))
        return Error(err::busy, "the import was ended, but what there is of it can be deleted only later")
            .at("volume", volume.name);
    return {};
  }
  const VolumeEntry entry = TRY(find(name_or_id));
  // Asked first: what is written as being deleted is, after a crash.
  if (pool_->is_in_use(entry.id)) return Error::make(err::busy, "thin device {} is in use", entry.id);
  TRY(set_state(entry.id, State::deleting));
  if (auto deleted = pool_->delete_device(entry.id); !deleted) {
    if (auto restored = set_state(entry.id, State::ready); !restored)
      options_.log.error("a volume that could not be deleted will be when the pool is next opened",
                         {{"pool", path()}, {"volume", entry.name}}, &restored.error());
    return deleted;
  }
  return file_->store().remove(entry.id, later);
}

Result<void> Home::rename_volume(const std::string& name_or_id, const std::string& name) {
  MutexLock lock(mutex_);
  VolumeEntry entry = TRY(find(name_or_id));
  TRY(check_new_name(name));
  entry.name = name;
  return file_->store().put(std::move(entry));
}

Result<void> Home::resize_volume(const std::string& name_or_id, uint64_t size) {
  MutexLock lock(mutex_);
  VolumeEntry entry = TRY(find(name_or_id));
  TRY(check_size(size));
  if (size < entry.size)
    return Error(err::invalid, "a volume does not shrink")
        .expected(fmt::format("at least {}", entry.size), size);
  entry.size = size;
  return file_->store().put(std::move(entry));
}

Result<VolumeRef> Home::open_volume(const VolumeEntry& entry) {
  std::shared_ptr<block::Device> origin;
  if (!entry.origin.empty()) {
    if (auto open = pool_->volume_in_use(entry.id)) return open;
    origin = TRY(options_.open(entry.origin, block::OpenMode::read_only, {.cancel = stopping_.token()}));
  }
  return pool_->open_volume(entry.id, entry.size, std::move(origin));
}

// ---- the pool

Result<std::optional<std::string>> Home::message(const std::string& text) {
  MutexLock lock(mutex_);
  auto answer = TRY(send_message(*pool_, text));
  // What it made or deleted.
  const auto there = TRY(pool_->metadata().devices());
  std::vector<DeviceId> gone;
  for (const VolumeEntry& volume : file_->description().volumes)
    if (!std::ranges::binary_search(there, volume.id)) gone.push_back(volume.id);
  for (const DeviceId id : gone) TRY(file_->store().remove(id));
  adopt_devices();
  if (const auto snapshot = snapshot_made_by(text)) name_snapshot(snapshot->id, snapshot->origin);
  return answer;
}

// A snapshot is as large as its origin, and shows through what that does.
void Home::name_snapshot(DeviceId id, DeviceId origin_id) {
  const VolumeEntry *made = file_->description().volumes.at(id),
                    *origin = file_->description().volumes.at(origin_id);
  if (made == nullptr || origin == nullptr) return;
  VolumeEntry entry = *made;
  entry.size = origin->size;
  entry.origin = origin->origin;
  entry.snapshot_of = origin->name;
  if (auto put = file_->store().put(std::move(entry)); !put)
    options_.log.warning("a snapshot has the size of what it maps", {{"pool", path()}}, &put.error());
}

Result<void> Home::grow(std::optional<uint64_t> data_size, std::optional<uint64_t> metadata_size) {
  MutexLock lock(mutex_);
  if (data_size) TRY(file_->grow_data(round_up(*data_size, pool_->block_size())));
  if (metadata_size) TRY(file_->grow_metadata(round_up(*metadata_size, metadata_block_size)));
  return pool_->resume();
}

}  // namespace karst::thin

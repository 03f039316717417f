// A pool as its user knows it: a file, volumes with names, commands that a crash leaves done or undone.
//
// What serves the pool (the network, the control socket) and what changes it while nobody serves it (the
// command line) use the same calls. Thread-safe. Locks: thin.home → thin.imports, the pool's.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "block/open.h"
#include "core/cancel.h"
#include "thin/home/imports.h"
#include "thin/home/pool_file.h"
#include "thin/pool/volume.h"

namespace karst::thin {

inline constexpr LockClass home_lock{"thin.home"};

struct HomeOptions {
  size_t cache_size = 64 << 20;  // bytes of metadata kept in memory
  bool timer = true;
  Logger log;
  std::string socket;  // where its volumes are served over NBD, for who asks
  block::DeviceOpener open = [](std::string_view name, block::OpenMode mode, block::FileOptions file) {
    return block::open_device(name, mode, file);
  };  // images to import, origins of volumes
};

// What `karst thin create` asks for; sizes in bytes.
struct NewPool {
  std::string metadata, data;  // devices; empty: in the pool's file
  uint64_t data_size = 0;      // 0: as large as the device
  uint64_t metadata_size = 0;  // 0: what suits data_size
  uint32_t block_sectors = data_block_sectors_min;
  uint64_t low_water_blocks = 0;
  uint64_t no_space_timeout_seconds = 60;
  PoolFeatures features;
  bool replace = false;
};
// 64 bytes for each data block, as LVM reckons, and room for what one cannot know; at least 64 MiB in a
// sparse file.
uint64_t suitable_metadata_size(uint64_t data_size, uint32_t block_sectors);

// Whether a device begins with the superblock of a pool's metadata.
Result<bool> holds_pool(const std::string& device);

class Home {
 public:
  // Makes a pool. Devices that hold one already are taken over with what they have, the volumes named by
  // their ids and as large as what they map.
  static Result<std::unique_ptr<Home>> create(const std::string& path, const NewPool& wanted,
                                              HomeOptions options);
  // Opens one, and ends what a crash left half done.
  static Result<std::unique_ptr<Home>> open(const std::string& path, HomeOptions options);
  ~Home();

  const std::string& path() const { return file_->path(); }
  const HomeOptions& options() const { return options_; }
  Pool& pool() { return *pool_; }
  PoolDescription description() const;

  Result<VolumeEntry> add_volume(const std::string& name, uint64_t size, const std::string& origin,
                                 std::optional<DeviceId> id);
  // One that is as large as what is copied into it, or larger. Nobody finds the volume before it is whole.
  // err::cancelled if it was ended: by the token, by removing the volume, by stop().
  struct ImportRequest {
    std::string name, from, format{};  // as block::open_disk_image() has them
    std::optional<uint64_t> size{};
    std::optional<DeviceId> id{};
  };
  Result<VolumeEntry> import_volume(const ImportRequest& request, CancelToken cancel = {});
  std::vector<Imports::Status> imports() const { return imports_.list(); }
  Result<VolumeEntry> add_snapshot(const std::string& of, const std::string& name, bool read_only,
                                   std::optional<DeviceId> id);
  // One that is being imported too.
  Result<void> remove_volume(const std::string& name_or_id);
  Result<void> rename_volume(const std::string& name_or_id, const std::string& name);
  Result<void> resize_volume(const std::string& name_or_id, uint64_t size);
  // err::no_device.
  Result<VolumeEntry> volume(const std::string& name_or_id) const;
  Result<VolumeRef> open_volume(const VolumeEntry& entry);

  // Ends what is being imported or opened, and whoever waits for the pool.
  void stop();

  // A message of the kernel's. Devices made by one are named by their id and have the size of their origin;
  // others have to be given one by resize_volume().
  Result<std::optional<std::string>> message(const std::string& text);
  // Sizes in bytes; nothing: as large as the devices have become.
  Result<void> grow(std::optional<uint64_t> data_size, std::optional<uint64_t> metadata_size);

 private:
  Home(std::unique_ptr<PoolFile> file, HomeOptions options);
  Result<void> start();
  Result<void> end_unfinished() REQUIRES(mutex_);
  void adopt_devices() REQUIRES(mutex_);
  void name_snapshot(DeviceId id, DeviceId origin_id) REQUIRES(mutex_);
  // Of the state `creating`, and then ready; or `importing`, which it stays.
  Result<VolumeEntry> add(VolumeEntry entry, FunctionRef<Result<void>()> make) REQUIRES(mutex_);
  Result<void> check_new_name(const std::string& name) const REQUIRES(mutex_);
  Result<void> check_size(uint64_t size) const;
  Result<VolumeEntry> import_running(const ImportRequest& request, Imports::Running& running);
  Result<void> set_state(DeviceId id, VolumeEntry::State state,
                         DescriptionStore::Durable durable = DescriptionStore::Durable::now) REQUIRES(mutex_);
  Result<DeviceId> choose_id(std::optional<DeviceId> wanted) const REQUIRES(mutex_);
  Result<VolumeEntry> find(const std::string& name_or_id) const REQUIRES(mutex_);

  const HomeOptions options_;
  CancelSource stopping_;
  Imports imports_;
  mutable Mutex mutex_{home_lock};
  const std::unique_ptr<PoolFile> file_;
  cache::Cache cache_;
  PoolRef pool_;  // constant after start()
};

}  // namespace karst::thin

// Opening an image as every verb does: devices by name, roots, log replay, the subvolume to start in.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/open.h"
#include "btrfs/file/data.h"
#include "btrfs/file/path.h"
#include "btrfs/subvol/subvolumes.h"

namespace karst::btrfs {

struct ImageOptions {
  std::vector<std::string> devices;  // names or URLs; the first decides which file system it is
  block::DeviceOpener open_device = block::open_device;
  OpenOptions open;
  bool replay_log = true;             // show what a log tree left by a crash holds (in memory only)
  bool allow_missing = true;          // go on when member devices are missing
  std::optional<std::string> subvol;  // start in this subvolume, by path from the top level
  std::optional<uint64_t> subvolid;   // or by id; neither: the default subvolume
};

// An opened image. Thread-safe after opening.
class Image {
 public:
  // The cache must outlive the image.
  static Result<std::unique_ptr<Image>> open(const ImageOptions& options, cache::Cache& cache,
                                             const Logger& log);
  // The same on devices that are open already; options.devices is not used.
  static Result<std::unique_ptr<Image>> open_on(std::vector<std::unique_ptr<block::Device>> devices,
                                                const ImageOptions& options, cache::Cache& cache,
                                                const Logger& log);

  const Filesystem& fs() const { return *fs_; }
  DataCache& data() const { return *data_; }
  // The directory that is "/".
  InodeId root() const { return root_; }

 private:
  explicit Image(std::unique_ptr<Filesystem> fs);
  std::unique_ptr<Filesystem> fs_;
  std::unique_ptr<DataCache> data_;
  InodeId root_;
};

}  // namespace karst::btrfs

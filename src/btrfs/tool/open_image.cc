#include "btrfs/tool/open_image.h"

#include "block/open.h"
#include "btrfs/txn/log_replay.h"

namespace karst::btrfs {
namespace {

// The root directory of the subvolume at a path from the top level.
Result<InodeId> subvolume_at(const Filesystem& fs, const std::string& path) {
  Root top = TRY(fs.root(id::fs_tree));
  Located found = TRY(resolve(fs, {id::fs_tree, top.item.root_dirid}, path));
  Root root = TRY(fs.root(found.id.subvolume));
  if (found.id.inode != root.item.root_dirid)
    return Error(karst::err::invalid, fmt::format("'{}' is not a subvolume", path));
  return found.id;
}

Result<InodeId> starting_point(const Filesystem& fs, const ImageOptions& options) {
  if (options.subvol) return subvolume_at(fs, *options.subvol);
  uint64_t subvolume = options.subvolid ? *options.subvolid : TRY(default_subvolume(fs));
  if (subvolume == 0) subvolume = id::fs_tree;  // the kernel's name for the top level
  if (!is_fs_tree(subvolume))
    return Error(karst::err::invalid, "not the id of a subvolume").at("subvolid", subvolume);
  Root root = TRY(fs.root(subvolume));
  return InodeId{subvolume, root.item.root_dirid};
}

}  // namespace

Image::Image(std::unique_ptr<Filesystem> fs)
    : fs_(std::move(fs)), data_(std::make_unique<DataCache>(fs_->cache())) {}

Result<std::unique_ptr<Image>> Image::open(const ImageOptions& options, cache::Cache& cache,
                                           const Logger& log) {
  std::vector<std::unique_ptr<block::Device>> devices;
  for (const std::string& name : options.devices)
    devices.push_back(TRY(options.open_device(name, block::OpenMode::read_only, {})));
  return open_on(std::move(devices), options, cache, log);
}

Result<std::unique_ptr<Image>> Image::open_on(std::vector<std::unique_ptr<block::Device>> devices,
                                              const ImageOptions& options, cache::Cache& cache,
                                              const Logger& log) {
  auto fs = TRY(Filesystem::open(std::move(devices), options.open, cache, log));
  if (!options.allow_missing && !fs->missing_devices().empty())
    return Error(err::device_missing, "member devices are missing; use -o degraded to go on without them")
        .at("devid", fs->missing_devices().front().devid);
  if (options.replay_log) TRY(replay_log(*fs).context([] { return "replaying the log"; }));
  std::unique_ptr<Image> image(new Image(std::move(fs)));
  image->root_ = TRY(starting_point(*image->fs_, options));
  return image;
}

}  // namespace karst::btrfs

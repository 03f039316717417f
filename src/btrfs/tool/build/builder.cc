#include "btrfs/tool/build/builder.h"

#include <algorithm>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/large_directory.h"
#include "core/assert.h"

namespace karst::btrfs::build {
namespace {

// The EXTENT_DATA items of one file, in order: neighbours on disk become one extent, and where the format
// wants holes to have items they get them.
class FileExtents {
 public:
  FileExtents(ImageWriter& writer, BulkTree& tree, uint64_t root, uint64_t inode, bool merge)
      : writer_(writer), tree_(tree), root_(root), inode_(inode), merge_(merge) {}

  Result<void> add(const PlacedExtent& extent) {
    if (can_merge(extent)) {
      pending_.num_bytes += extent.num_bytes;
      pending_.disk_bytes += extent.disk_bytes;
      return {};
    }
    TRY(flush());
    pending_ = extent;
    return {};
  }
  // The file has `size` bytes.
  Result<void> finish(uint64_t size) {
    TRY(flush());
    const uint64_t sector = writer_.geometry().sectorsize;
    return hole_until((size + sector - 1) / sector * sector);
  }
  uint64_t disk_bytes() const { return disk_bytes_; }

 private:
  static constexpr uint64_t longest = 128 << 20;  // Linux's BTRFS_MAX_EXTENT_SIZE

  bool can_merge(const PlacedExtent& extent) const {
    return merge_ && pending_.num_bytes > 0 && pending_.compression == Compression::none &&
           extent.compression == Compression::none &&
           extent.file_offset == pending_.file_offset + pending_.num_bytes &&
           extent.address == pending_.address + pending_.disk_bytes &&
           pending_.num_bytes + extent.num_bytes <= longest &&
           writer_.same_chunk(pending_.address, extent.address);
  }
  FileExtent item() const {
    FileExtent item{};
    item.head.generation = writer_.generation();
    item.head.type = static_cast<uint8_t>(FileExtentType::regular);
    return item;
  }
  Result<void> hole_until(uint64_t offset) {
    if (!writer_.geometry().has(incompat::no_holes) && next_ < offset) {
      FileExtent hole = item();
      hole.head.ram_bytes = hole.num_bytes = offset - next_;
      TRY(tree_.add({inode_, ItemType::extent_data, next_}, bytes_of(hole)));
    }
    next_ = offset;
    return {};
  }
  Result<void> flush() {
    if (pending_.num_bytes == 0) return {};
    TRY(hole_until(pending_.file_offset));
    FileExtent extent = item();
    extent.head.ram_bytes = extent.num_bytes = pending_.num_bytes;
    extent.head.compression = static_cast<uint8_t>(pending_.compression);
    extent.disk_bytenr = pending_.address;
    extent.disk_num_bytes = pending_.disk_bytes;
    TRY(tree_.add({inode_, ItemType::extent_data, pending_.file_offset}, bytes_of(extent)));
    TRY(writer_.add_reference(pending_.address, pending_.disk_bytes, {root_, inode_, pending_.file_offset}));
    next_ = pending_.file_offset + pending_.num_bytes;
    disk_bytes_ += pending_.disk_bytes;
    pending_ = {};
    return {};
  }

  ImageWriter& writer_;
  BulkTree& tree_;
  const uint64_t root_, inode_;
  const bool merge_;
  PlacedExtent pending_;
  uint64_t next_ = 0, disk_bytes_ = 0;
};

class Builder {
 public:
  Builder(const Layout& layout, const SourceFiles& files, const StoredContents* stored, ImageWriter& writer,
          ExtentPlacer& placer, Codecs& codecs, BatchBuffers& buffers, WorkerPool& pool,
          const BuildOptions& options)
      : layout_(layout),
        stored_(stored),
        writer_(writer),
        placer_(placer),
        buffers_(buffers),
        options_(options),
        loader_(files, writer.geometry(), codecs, buffers, options.load),
        queue_(pool, {.items = 256, .weight = options.memory}, {.cancel = options.cancel}) {
    for (const Subvolume& subvolume : layout.subvolumes())
      if (subvolume.snapshot_of) sources_[layout.subvolumes()[*subvolume.snapshot_of].id];
  }

  Result<BuildReport> run() {
    Walk walk = layout_.walk();
    while (const Subvolume* subvolume = TRY(walk.next_subvolume())) {
      if (subvolume->snapshot_of) continue;
      TRY(build_subvolume(*subvolume, walk));
    }
    for (const Subvolume& subvolume : layout_.subvolumes())
      if (subvolume.snapshot_of) TRY(build_snapshot(subvolume));
    return report_;
  }

 private:
  Result<void> build_subvolume(const Subvolume& subvolume, Walk& walk) {
    BulkTree tree = writer_.begin_tree(subvolume.id);
    while (const Inode* inode = TRY(walk.next())) {
      InodeCopy copy(*inode);
      if (inode->child_count >= LargeDirectory::least)
        TRY(sort_entries(copy, walk, tree, subvolume));
      else if (copy.attributes.is_directory())
        while (const Child* child = TRY(walk.next_child())) copy.add_child(*child);
      TRY(queue_inode(std::move(copy), tree, subvolume));
    }
    TRY(submit(tree, subvolume));
    while (in_flight_ > 0) TRY(take_one(tree, subvolume));
    TreeRoot root = TRY(tree.finish());
    if (auto source = sources_.find(subvolume.id); source != sources_.end()) {
      Bytes block = tree.root_block();
      source->second = {root, {block.begin(), block.end()}};
    }
    return add(subvolume, root, {});
  }

  Result<void> sort_entries(InodeCopy& directory, Walk& walk, BulkTree& tree, const Subvolume& subvolume) {
    while (large_.size() >= 2) {  // each takes some memory
      TRY(submit(tree, subvolume));
      TRY(take_one(tree, subvolume));
    }
    LargeDirectory& large =
        large_.emplace_back(directory, options_.load.generation, options_.temporary_directory);
    while (const Child* child = TRY(walk.next_child())) {
      TRY(large.add(*child));
      directory.entry_name_bytes += child->name.size();
    }
    return {};
  }

  Result<void> build_snapshot(const Subvolume& subvolume) {
    const uint64_t source_id = layout_.subvolumes()[*subvolume.snapshot_of].id;
    const Source& source = sources_.at(source_id);
    return add(subvolume, TRY(writer_.snapshot(subvolume.id, source.root, TreeBlock(source.block))),
               source_id);
  }

  Result<void> add(const Subvolume& subvolume, const TreeRoot& root, std::optional<uint64_t> snapshot_of) {
    MadeSubvolume made;
    made.id = subvolume.id;
    made.root = root;
    made.readonly = subvolume.readonly;
    if (subvolume.id != id::fs_tree)
      made.place = {layout_.subvolumes()[subvolume.parent].id, subvolume.directory, subvolume.index,
                    subvolume.name};
    made.snapshot_of = snapshot_of;
    made.time = {writer_.options().time, 0};
    if (subvolume.is_default) writer_.set_default_subvolume(subvolume.id);
    ++report_.subvolumes;
    return writer_.add_subvolume(made);
  }

  // Collects inodes into jobs; a large file is a job for each of its parts.
  Result<void> queue_inode(InodeCopy inode, BulkTree& tree, const Subvolume& subvolume) {
    LoadTask task{std::move(inode), {}, 0, {}};
    const uint64_t size = task.inode.attributes.size;
    uint64_t weight = 256 + task.inode.text.size() + task.inode.entries.size() * 256;
    uint64_t room = 0;
    if (task.inode.content == ContentKind::stored) {
      StoredContent content = TRY(stored_->find(task.inode.content_bytes));
      task.stored_nbytes = content.nbytes;
      task.stored_inline = std::move(content.in_item);
    } else if (task.inode.content != ContentKind::none) {
      room = loader_.room_for(size);
    }
    if (room > EncodedBatch::capacity) {
      auto parts = loader_.parts_of(task.inode);
      if (parts) return queue_parts(*parts, task, tree, subvolume);
      TRY(options_.load.errors->failed(std::move(parts).error()));
      task.inode.leave_out();
      room = 0;
    }
    if (tasks_room_ + room > EncodedBatch::capacity || tasks_weight_ + weight > EncodedBatch::capacity ||
        tasks_.size() >= 256)
      TRY(submit(tree, subvolume));
    tasks_room_ += room;
    tasks_weight_ += weight;
    tasks_.push_back(std::move(task));
    return {};
  }

  Result<void> queue_parts(FileParts& parts, LoadTask& task, BulkTree& tree, const Subvolume& subvolume) {
    TRY(submit(tree, subvolume));
    while (const auto part = parts.next()) {
      task.part = *part;
      tasks_.push_back(task);
      tasks_room_ = EncodedBatch::capacity;
      TRY(submit(tree, subvolume));
    }
    return {};
  }

  Result<void> submit(BulkTree& tree, const Subvolume& subvolume) {
    if (tasks_.empty()) return {};
    const uint64_t weight = tasks_room_ + tasks_weight_;
    while (!queue_.has_room(weight)) TRY(take_one(tree, subvolume));
    auto work = [this, tasks = std::exchange(tasks_, {})]() mutable {
      return loader_.load(std::move(tasks));
    };
    tasks_room_ = tasks_weight_ = 0;
    ++in_flight_;
    return queue_.submit(weight, std::move(work));
  }

  Result<void> take_one(BulkTree& tree, const Subvolume& subvolume) {
    LoadedBatch batch = std::move(*TRY(queue_.next()));
    --in_flight_;
    placed_.clear();
    TRY(placer_.place(batch.data, [&](uint32_t file, const PlacedExtent& extent) -> Result<void> {
      placed_.push_back({file, extent});
      return {};
    }));
    auto placed = placed_.begin();
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < batch.inodes.size(); ++i) {
      const LoadedInode& inode = batch.inodes[i];
      if (inode.part.first) {
        auto add = [&](const Key& key, Bytes data) { return tree.add(key, data); };
        TRY(inode.items.for_each(add));
        if (!large_.empty() && large_.front().number() == inode.number) {
          TRY(large_.front().for_each(writer_.geometry(), add));
          large_.pop_front();
        }
        ++report_.inodes;
        bytes += inode.size;
      }
      if (inode.inline_compression != Compression::none) writer_.note_compression(inode.inline_compression);
      TRY(add_extents(inode, tree, subvolume, placed, i));
    }
    report_.bytes += bytes;
    options_.progress.add(bytes, batch.inodes.size());
    buffers_.give_back(std::move(batch.data.data));
    return {};
  }

  struct Placed {
    uint32_t file;
    PlacedExtent extent;
  };
  Result<void> add_extents(const LoadedInode& inode, BulkTree& tree, const Subvolume& subvolume,
                           std::vector<Placed>::iterator& placed, uint32_t file) {
    const auto first = placed;
    while (placed != placed_.end() && placed->file == file) ++placed;
    // Of a file that was left out at its first part, the others are too.
    if (inode.part.first) left_out_ = inode.failed;
    if (!inode.has_extents || left_out_) return {};
    if (!extents_) extents_.emplace(writer_, tree, subvolume.id, inode.number, !placer_.shares());
    if (inode.content == ContentKind::stored) {
      const StoredContent content = TRY(stored_->find(inode.token));
      TRY(stored_->for_each_extent(content,
                                   [&](const PlacedExtent& extent) { return extents_->add(extent); }));
    }
    for (auto at = first; at != placed; ++at) TRY(extents_->add(at->extent));
    if (!inode.part.last) return {};
    TRY(extents_->finish(inode.size));
    report_.disk_bytes += extents_->disk_bytes();
    extents_.reset();
    return {};
  }

  struct Source {
    TreeRoot root;
    std::vector<std::byte> block;
  };
  const Layout& layout_;
  const StoredContents* stored_;
  ImageWriter& writer_;
  ExtentPlacer& placer_;
  BatchBuffers& buffers_;
  const BuildOptions& options_;
  FileLoader loader_;
  std::map<uint64_t, Source> sources_;  // of snapshots
  std::deque<LargeDirectory> large_;    // whose inodes are on their way
  std::vector<LoadTask> tasks_;         // of the next job
  uint64_t tasks_room_ = 0, tasks_weight_ = 0;
  size_t in_flight_ = 0;
  std::vector<Placed> placed_;          // of the batch being taken
  std::optional<FileExtents> extents_;  // of a file that goes on in the next batch
  bool left_out_ = false;               // the file that goes on
  BuildReport report_;
  OrderedQueue<LoadedBatch> queue_;  // last: its work uses the rest
};

}  // namespace

Result<BuildReport> build_trees(const Layout& layout, const SourceFiles& files, const StoredContents* stored,
                                ImageWriter& writer, ExtentPlacer& placer, Codecs& codecs,
                                BatchBuffers& buffers, WorkerPool& pool, const BuildOptions& options) {
  Builder builder(layout, files, stored, writer, placer, codecs, buffers, pool, options);
  return builder.run();
}

}  // namespace karst::btrfs::build

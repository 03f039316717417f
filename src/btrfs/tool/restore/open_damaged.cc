#include "btrfs/tool/restore/open_damaged.h"

#include <algorithm>
#include <set>

#include "btrfs/tool/restore/node_rebuild.h"
#include "btrfs/txn/log_replay.h"

namespace karst::btrfs {
namespace {

BlockPointer super_root(const Superblock& super) {
  return {Logical(super.root.value()), super.generation, super.root_level, id::root_tree, {}};
}
BlockPointer super_chunk_root(const Superblock& super) {
  return {Logical(super.chunk_root.value()),
          super.chunk_root_generation,
          super.chunk_root_level,
          id::chunk_tree,
          {}};
}
BlockPointer backup_root(const RootBackup& backup) {
  return {Logical(backup.tree_root.value()), backup.tree_root_gen, backup.tree_root_level, id::root_tree, {}};
}
BlockPointer backup_chunk_root(const RootBackup& backup) {
  return {
      Logical(backup.chunk_root.value()), backup.chunk_root_gen, backup.chunk_root_level, id::chunk_tree, {}};
}

// Was ever written, and can be meant.
bool is_backup(const RootBackup& backup) {
  return backup.tree_root != 0 && backup.tree_root_level < max_level && backup.chunk_root_level < max_level;
}

// The superblock's usable backups, newest first, by slot.
std::vector<int> backups_by_age(const Superblock& super) {
  std::vector<int> slots;
  for (int slot = 0; slot < backup_root_count; ++slot)
    if (is_backup(super.super_roots[slot])) slots.push_back(slot);
  std::sort(slots.begin(), slots.end(), [&](int a, int b) {
    return super.super_roots[a].tree_root_gen > super.super_roots[b].tree_root_gen;
  });
  return slots;
}

BlockTolerance tolerance_of(const DamagedOpenOptions& options) {
  return {.generation = true, .checksum = options.ignore_checksums, .items = true};
}

bool is_needed_tree(uint64_t tree) { return is_fs_tree(tree) || tree == id::csum_tree; }

}  // namespace

Result<DamagedVolume> open_damaged_volume(std::vector<std::unique_ptr<block::Device>> devices,
                                          const DamagedOpenOptions& options, cache::Cache& cache,
                                          Damage& damage, const Logger& log) {
  VolumeOptions volume_options = options.volume;
  volume_options.skip_bad_devices = true;
  volume_options.any_super_checksum = options.ignore_checksums;
  auto volume = TRY(Volume::open(std::move(devices), volume_options, log));
  const Superblock& super = volume->super();
  const BlockTolerance tolerance = tolerance_of(options);
  load_chunk_tree(*volume, cache, super_chunk_root(super), tolerance, damage);
  if (!damage.any(id::chunk_tree)) return DamagedVolume{std::move(volume), {}};
  Damage backups_damage;
  for (int slot : backups_by_age(super))
    load_chunk_tree(*volume, cache, backup_chunk_root(super.super_roots[slot]), tolerance, backups_damage);
  options.progress.begin_phase("looking for chunks");
  auto unordered = TRY(scan_for_chunks(*volume, {options.cancel, options.progress}));
  return DamagedVolume{std::move(volume), std::move(unordered)};
}

// The steps between a volume and a file system.
class DamagedOpener {
 public:
  DamagedOpener(const DamagedOpenOptions& options, cache::Cache& cache, const Logger& log)
      : options_(options), cache_(cache), log_(log) {}

  Result<std::unique_ptr<DamagedImage>> open(std::vector<std::unique_ptr<block::Device>> devices) {
    std::unique_ptr<DamagedImage> image(new DamagedImage);
    auto opened = TRY(open_damaged_volume(std::move(devices), options_, cache_, image->damage_, log_));
    volume_ = std::move(opened.volume);
    reader_.emplace(*volume_, cache_, tolerance_of(options_));
    TRY(choose_root_tree());
    TRY(find_lost_roots(image->damage_));
    order_stripes(opened.unordered);
    reader_.reset();

    FilesystemParts parts;
    parts.chunk_root = super_chunk_root(volume_->super());
    parts.root = root_;
    parts.roots = recovered_;
    parts.with_log = options_.replay_log && root_.address == super_root(volume_->super()).address;
    parts.damage = &image->damage_;
    parts.tolerance = tolerance_of(options_);
    image->fs_ = Filesystem::assemble(std::move(volume_), std::move(parts), cache_);
    image->data_ = std::make_unique<DataCache>(cache_);
    image->root_ = root_;
    image->root_source_ = root_source_;
    image->root_is_stand_in_ = !options_.tree_location && !options_.backup_root && !options_.generation &&
                               (root_.address != super_root(image->fs_->super()).address || nothing_found_);
    image->recovered_ = std::move(recovered_);
    auto replayed = options_.replay_log ? replay_log(*image->fs_) : Result<void>();
    if (!replayed) log_.warning("the log left by a crash cannot be used", {}, &replayed.error());
    image->log_is_unused_ = !replayed;
    return image;
  }

 private:
  Result<void> choose_root_tree() {
    if (options_.tree_location)
      return use(TRY(pointer_at(*options_.tree_location, id::root_tree)), "the address given");
    if (options_.backup_root) return use_backup(*options_.backup_root);
    if (options_.generation) return use_generation(*options_.generation);
    const Superblock& super = volume_->super();
    if (is_usable(super_root(super))) return use(super_root(super), "the superblock");
    for (int slot : backups_by_age(super))
      if (is_usable(backup_root(super.super_roots[slot])))
        return use(backup_root(super.super_roots[slot]), fmt::format("backup {}", slot));
    TRY(scan());
    for (const RootCandidate& candidate : candidates_->of(id::root_tree))
      if (is_usable(candidate.pointer())) return use(candidate.pointer(), "a scan of the metadata");
    // Nothing leads to files; what is left are the subvolumes' own blocks.
    nothing_found_ = true;
    return use(super_root(super), "nothing: no root tree can be read");
  }

  Result<void> use(const BlockPointer& root, std::string source) {
    root_ = root;
    root_source_ = std::move(source);
    if (root.address != super_root(volume_->super()).address)
      log_.warning("not the root tree of the last commit",
                   {{"block", root.address}, {"generation", root.generation}, {"from", root_source_}});
    return {};
  }

  Result<void> use_backup(int slot) {
    if (slot < 0 || slot >= backup_root_count || !is_backup(volume_->super().super_roots[slot]))
      return Error(karst::err::invalid, "this backup root was never written, or is none").at("backup", slot);
    return use(backup_root(volume_->super().super_roots[slot]), fmt::format("backup {}", slot));
  }

  Result<void> use_generation(uint64_t generation) {
    TRY(scan());
    std::set<uint64_t> there;
    for (const RootCandidate& candidate : candidates_->of(id::root_tree)) {
      there.insert(candidate.generation);
      if (candidate.generation == generation && is_usable(candidate.pointer()))
        return use(candidate.pointer(), "a scan of the metadata");
    }
    return Error(karst::err::not_found, "no usable root tree of this generation was found")
        .at("generation", generation)
        .at("found", fmt::format("{}", fmt::join(there, ", ")));
  }

  // The root tree's root can be read, and leads to a subvolume.
  bool is_usable(const BlockPointer& root) {
    if (!reader_->read(root)) return false;
    Damage scratch;
    Cursor cursor(Tree{&*reader_, id::root_tree, root, nullptr, &scratch});
    auto at = cursor.seek({id::fs_tree, ItemType::root_item, 0});
    for (; at && *at && cursor.key().objectid <= id::last_free; at = cursor.next())
      if (cursor.key().type == ItemType::root_item && is_fs_tree(cursor.key().objectid)) return true;
    return false;
  }

  // What a block says of itself, for one known by its address alone.
  Result<BlockPointer> pointer_at(uint64_t bytenr, uint64_t tree) {
    const Geometry& geometry = volume_->geometry();
    std::vector<std::byte> bytes(geometry.nodesize);
    const TreeBlock block(bytes);
    const BlockExpectation expected{Logical(bytenr), {}, {}, {}, {}};
    TRY(volume_->read_verified(Logical(bytenr), bytes, [&]() -> Result<void> {
      if (!options_.ignore_checksums) TRY(check_block_checksum(bytes, geometry));
      TRY(check_block_identity(block, geometry, expected));
      return check_block_structure(block, geometry);
    }));
    return BlockPointer{Logical(bytenr), block.generation(), block.level(), tree, {}};
  }

  Result<void> scan(NodeRebuild* rebuild = nullptr) {
    if (candidates_ && !rebuild) return {};
    candidates_.emplace();
    options_.progress.begin_phase("looking for tree roots");
    return scan_chunks(*volume_, block_group::metadata | block_group::system,
                       {options_.cancel, options_.progress}, [&](const TreeBlock& block) -> Result<void> {
                         candidates_->add(block);
                         if (rebuild) rebuild->add(block);
                         return {};
                       });
  }

  // Makes lost nodes of subvolumes and the checksum tree again; stands in for their roots that cannot be made
  // again, or were lost with their items.
  Result<void> find_lost_roots(Damage& damage) {
    std::map<uint64_t, Root> listed;
    Damage scratch;
    Cursor cursor(Tree{&*reader_, id::root_tree, root_, nullptr, &scratch});
    auto at = cursor.seek(Key::min());
    for (; at && *at; at = cursor.next())
      if (cursor.key().type == ItemType::root_item && is_needed_tree(cursor.key().objectid))
        listed[cursor.key().objectid] = root_from_item(cursor.key(), cursor.data());
    if (options_.fs_location) {
      Root& root = recovered_[options_.subvolume] = listed[options_.subvolume];
      point(root, options_.subvolume, TRY(pointer_at(*options_.fs_location, options_.subvolume)));
    }
    std::set<uint64_t> lost;
    for (const auto& [tree, root] : listed)
      if (root.item.refs != 0 && !recovered_.contains(tree) && !reader_->read(pointer_of(tree, root)))
        lost.insert(tree);
    const bool items_lost = scratch.any(id::root_tree);
    NodeRebuild rebuild(*reader_, listed);
    for (const auto& [tree, root] : listed)
      if (root.item.refs != 0 && !recovered_.contains(tree)) rebuild.look_at(tree, root);
    if (lost.empty() && !items_lost && !rebuild.any_lost()) return {};
    TRY(scan(rebuild.any_lost() ? &rebuild : nullptr));
    ExtentWitness extents(*reader_, root_);
    rebuild.make(extents, damage);
    std::erase_if(lost, [&](uint64_t tree) { return rebuild.has_made(listed[tree].item.bytenr); });
    if (items_lost)
      for (uint64_t tree : candidates_->trees())
        if (is_needed_tree(tree) && !listed.contains(tree)) lost.insert(tree);
    for (uint64_t tree : lost) stand_in(tree, listed[tree]);
    return {};
  }

  void order_stripes(const std::vector<UnorderedChunk>& unordered) {
    if (unordered.empty()) return;
    Damage scratch;
    Root root;
    auto recovered = recovered_.find(id::csum_tree);
    if (recovered != recovered_.end()) {
      root = recovered->second;
    } else {
      Cursor roots(Tree{&*reader_, id::root_tree, root_, nullptr, &scratch});
      auto found = roots.find({id::csum_tree, ItemType::root_item, 0});
      if (found && *found) root = root_from_item(roots.key(), roots.data());
    }
    Cursor checksums(Tree{&*reader_, id::csum_tree, pointer_of(id::csum_tree, root), nullptr, &scratch});
    add_by_checksums(*volume_, unordered, checksums);
  }

  static BlockPointer pointer_of(uint64_t tree, const Root& root) {
    return {Logical(root.item.bytenr.value()), root.item.generation, root.item.level, tree, {}};
  }
  static void point(Root& root, uint64_t tree, const BlockPointer& pointer) {
    root.id = tree;
    root.item.bytenr = raw(pointer.address);
    root.item.generation = pointer.generation;
    root.item.generation_v2 = pointer.generation;
    root.item.level = pointer.level;
    if (root.item.root_dirid == 0) root.item.root_dirid = id::first_free;
    if (root.item.refs == 0) root.item.refs = 1;
  }

  // The newest readable block of the height that the tree had; where that is not known, of the greatest.
  void stand_in(uint64_t tree, Root root) {
    auto list = candidates_->of(tree);
    std::erase_if(list, [&](const RootCandidate& candidate) { return !reader_->read(candidate.pointer()); });
    if (list.empty()) return;
    uint8_t level = root.item.level;
    if (root.id == 0)
      for (const RootCandidate& candidate : list) level = std::max(level, candidate.level);
    auto best = std::find_if(list.begin(), list.end(),
                             [&](const auto& candidate) { return candidate.level == level; });
    if (best == list.end()) best = list.begin();
    point(root, tree, best->pointer());
    recovered_[tree] = root;
    log_.warning("another root stands in for a tree's own, which is lost",
                 {{"tree", root_name(tree)}, {"block", best->bytenr}, {"generation", best->generation}});
  }

  const DamagedOpenOptions& options_;
  cache::Cache& cache_;
  const Logger& log_;
  std::unique_ptr<Volume> volume_;
  std::optional<BlockReader> reader_;
  std::optional<RootCandidates> candidates_;
  BlockPointer root_;
  std::string root_source_;
  bool nothing_found_ = false;
  std::map<uint64_t, Root> recovered_;
};

Result<std::unique_ptr<DamagedImage>> DamagedImage::open(std::vector<std::unique_ptr<block::Device>> devices,
                                                         const DamagedOpenOptions& options,
                                                         cache::Cache& cache, const Logger& log) {
  return DamagedOpener(options, cache, log).open(std::move(devices));
}

}  // namespace karst::btrfs

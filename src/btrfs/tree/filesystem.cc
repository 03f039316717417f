#include "btrfs/tree/filesystem.h"

#include <cstring>

namespace karst::btrfs {
namespace err {
const ErrorKind no_tree{"no-tree", &karst::err::not_found, ENOENT};
}

namespace {

// A superblock's own roots have been checked when it was read; these are looked at by whoever uses them.
Result<void> check_levels(const RootBackup& backup, int number) {
  if (backup.tree_root_level < max_level && backup.chunk_root_level < max_level) return {};
  return Error(err::super_invalid, "level of a backup root too big")
      .expected("0 to 7",
                fmt::format("tree root {}, chunk root {}", backup.tree_root_level, backup.chunk_root_level))
      .at("field", "super_roots")
      .at("backup", number);
}

}  // namespace

Filesystem::Filesystem(std::unique_ptr<Volume> volume, cache::Cache& cache, FilesystemParts parts)
    : cache_(cache),
      volume_(std::move(volume)),
      parts_(std::move(parts)),
      blocks_(*volume_, cache, parts_.tolerance) {}
Filesystem::~Filesystem() = default;

Result<std::unique_ptr<Filesystem>> Filesystem::open(std::vector<std::unique_ptr<block::Device>> devices,
                                                     const OpenOptions& options, cache::Cache& cache,
                                                     const Logger& log) {
  auto volume = TRY(Volume::open(std::move(devices), options.volume, log));
  std::unique_ptr<Filesystem> fs(new Filesystem(std::move(volume), cache, {}));
  const Superblock& super = fs->super();
  BlockPointer chunk_root{Logical(super.chunk_root.value()),
                          super.chunk_root_generation,
                          super.chunk_root_level,
                          id::chunk_tree,
                          {}};
  BlockPointer root{Logical(super.root.value()), super.generation, super.root_level, id::root_tree, {}};
  if (options.backup_root) {
    if (*options.backup_root < 0 || *options.backup_root >= backup_root_count)
      return Error(karst::err::invalid, "no such backup root")
          .expected(fmt::format("0 to {}", backup_root_count - 1), *options.backup_root);
    const RootBackup& backup = super.super_roots[*options.backup_root];
    if (backup.tree_root == 0)
      return Error(karst::err::invalid, "this backup root was never written")
          .at("backup", *options.backup_root);
    TRY(check_levels(backup, *options.backup_root));
    chunk_root = {Logical(backup.chunk_root.value()),
                  backup.chunk_root_gen,
                  backup.chunk_root_level,
                  id::chunk_tree,
                  {}};
    root = {
        Logical(backup.tree_root.value()), backup.tree_root_gen, backup.tree_root_level, id::root_tree, {}};
    fs->with_log_ = false;
  }
  if (options.chunk_root) chunk_root = TRY(fs->root_at(id::chunk_tree, *options.chunk_root));
  TRY(fs->load_chunks(chunk_root).context([] { return "loading the chunk tree"; }));
  if (options.tree_root) {
    root = TRY(fs->root_at(id::root_tree, *options.tree_root));
    fs->with_log_ = false;
  }
  fs->chunk_tree_ = fs->tree_at(id::chunk_tree, chunk_root);
  fs->root_tree_ = fs->tree_at(id::root_tree, root);
  TRY(fs->blocks_.read(root).context([] { return "reading the root of the root tree"; }));
  return fs;
}

std::unique_ptr<Filesystem> Filesystem::assemble(std::unique_ptr<Volume> volume, FilesystemParts parts,
                                                 cache::Cache& cache) {
  std::unique_ptr<Filesystem> fs(new Filesystem(std::move(volume), cache, std::move(parts)));
  fs->with_log_ = fs->parts_.with_log;
  fs->chunk_tree_ = fs->tree_at(id::chunk_tree, fs->parts_.chunk_root);
  fs->root_tree_ = fs->tree_at(id::root_tree, fs->parts_.root);
  return fs;
}

Result<BlockPointer> Filesystem::root_at(uint64_t tree, uint64_t bytenr) const {
  if (bytenr == 0 || bytenr % geometry().sectorsize != 0)
    return Error(karst::err::invalid, "not the address of a tree block").at("bytenr", bytenr);
  std::vector<std::byte> block(geometry().nodesize);
  TRY(volume_->read_verified(Logical(bytenr), block,
                             [&] { return check_block_checksum(block, geometry()); }));
  const TreeBlock view(block);
  if (view.level() >= max_level)
    return Error(err::block_level, "level too big").expected("0 to 7", view.level()).at("block", bytenr);
  return BlockPointer{Logical(bytenr), view.generation(), view.level(), tree, {}};
}

Result<void> Filesystem::load_chunks(const BlockPointer& chunk_root) {
  Cursor cursor(tree_at(id::chunk_tree, chunk_root));
  for (bool more = TRY(cursor.seek(Key::min())); more; more = TRY(cursor.next())) {
    if (cursor.key().type == ItemType::chunk_item)
      TRY(volume_->chunks_to_fill().add(cursor.key().offset, cursor.data()));
    if (cursor.key().type != ItemType::dev_item) continue;
    const DevItem& item = *cursor.as<DevItem>();
    if (volume_->member(item.devid, item.uuid)) continue;
    missing_.push_back(item);
    log().warning("a member device is missing", {{"devid", item.devid.value()}, {"uuid", item.uuid}});
  }
  return {};
}

Tree Filesystem::tree_at(uint64_t id, const BlockPointer& root) const {
  auto overlay = overlays_.find(id);
  // What a log does not have in a range that it covers was deleted: one with holes would delete what was not.
  Damage* damage = id == id::tree_log ? nullptr : parts_.damage;
  return {&blocks_, id, root, overlay == overlays_.end() ? nullptr : overlay->second.get(), damage};
}

Tree Filesystem::tree_of(const Root& root) const {
  return tree_at(root.id,
                 {Logical(root.item.bytenr.value()), root.item.generation, root.item.level, root.id, {}});
}

Root root_from_item(const Key& key, Bytes item) {
  Root root{key.objectid, key.offset, {}};
  std::memcpy(static_cast<void*>(&root.item), item.data(), std::min(item.size(), sizeof root.item));
  // Kernels before 2.6.39 left the flags of subvolumes as they were in memory.
  if (!has_valid_flags(root.id, root.item)) root.item.flags = 0;
  // An old kernel that rewrites the item leaves the later fields behind: they are valid only if the two
  // generations agree.
  if (root.item.generation_v2 != root.item.generation) {
    auto* bytes = reinterpret_cast<std::byte*>(&root.item);
    std::memset(bytes + root_item_legacy_size, 0, sizeof root.item - root_item_legacy_size);
  }
  return root;
}

Result<Root> Filesystem::root(uint64_t id) const {
  if (auto given = parts_.roots.find(id); given != parts_.roots.end()) return given->second;
  Cursor cursor(root_tree_);
  if (!TRY(cursor.seek_back({id, ItemType::root_item, ~0ull})) || cursor.key().objectid != id ||
      cursor.key().type != ItemType::root_item)
    return Error(err::no_tree, "no such tree").at("tree", root_name(id));
  return root_from_item(cursor.key(), cursor.data());
}

Result<Tree> Filesystem::tree(uint64_t id) const {
  if (id == id::root_tree) return root_tree_;
  if (id == id::chunk_tree) return chunk_tree_;
  {
    MutexLock lock(trees_mu_);
    auto known = trees_.find(id);
    if (known != trees_.end()) return known->second;
  }
  Tree tree = tree_of(TRY(root(id)));
  MutexLock lock(trees_mu_);
  return trees_.emplace(id, tree).first->second;
}

std::optional<Tree> Filesystem::log_root_tree() const {
  const Superblock& super = this->super();
  if (super.log_root == 0 || !with_log_) return std::nullopt;
  return tree_at(
      id::tree_log,
      {Logical(super.log_root.value()), super.generation + 1, super.log_root_level, id::tree_log, {}});
}

void Filesystem::install_overlay(uint64_t tree_id, std::unique_ptr<ItemOverlay> overlay) {
  MutexLock lock(trees_mu_);
  trees_.erase(tree_id);
  overlays_[tree_id] = std::move(overlay);
}

}  // namespace karst::btrfs

// One opened file system: its volume, and the roots of its trees.
//
// Opening: superblocks and system chunks (Volume) → chunk tree → root tree → the rest on demand. Roots are
// found by looking them up in the root tree, not through fixed pointers (BT-051), and remembered.
// Thread-safe after opening.
#pragma once
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "btrfs/format/root.h"
#include "btrfs/tree/tree.h"
#include "btrfs/volume/volume.h"
#include "core/mutex.h"

namespace karst::btrfs {

struct OpenOptions {
  VolumeOptions volume;
  std::optional<int> backup_root;  // use this one of the four rotating backups, instead of the current roots
  // Use the blocks at these addresses as roots; their level and generation are what they say themselves.
  std::optional<uint64_t> tree_root, chunk_root;
};

namespace err {
extern const ErrorKind no_tree;  // the root tree has no such root; child of not_found
}

inline constexpr LockClass trees_lock{"btrfs.trees"};

// A root item in its full, current form.
struct Root {
  uint64_t id = 0;
  uint64_t key_offset = 0;  // of the root item: a snapshot's creating transaction
  RootItem item{};          // fields an old kernel did not write are zero
};

// What a file system is put together from when its own pointers cannot be trusted (tool/restore).
struct FilesystemParts {
  BlockPointer chunk_root, root;
  std::map<uint64_t, Root> roots;  // used instead of what the root tree has
  bool with_log = false;           // whether the superblock's log belongs to these roots
  Damage* damage = nullptr;        // makes all trees tolerant; outlives the file system
  BlockTolerance tolerance;
};

class Filesystem {
 public:
  static Result<std::unique_ptr<Filesystem>> open(std::vector<std::unique_ptr<block::Device>> devices,
                                                  const OpenOptions& options, cache::Cache& cache,
                                                  const Logger& log);
  // Reads nothing. The volume's chunk map is as the caller has filled it.
  static std::unique_ptr<Filesystem> assemble(std::unique_ptr<Volume> volume, FilesystemParts parts,
                                              cache::Cache& cache);
  ~Filesystem();
  Filesystem(const Filesystem&) = delete;
  Filesystem& operator=(const Filesystem&) = delete;

  const Volume& volume() const { return *volume_; }
  const Geometry& geometry() const { return volume_->geometry(); }
  const Superblock& super() const { return volume_->super(); }
  const Logger& log() const { return volume_->log(); }
  cache::Cache& cache() const { return cache_; }

  // Device items of the chunk tree whose device was not given.
  const std::vector<DevItem>& missing_devices() const { return missing_; }

  Tree root_tree() const { return root_tree_; }
  Tree chunk_tree() const { return chunk_tree_; }
  // What could not be read so far, if the trees are tolerant.
  Damage* damage() const { return parts_.damage; }
  // Roots that are used instead of what the root tree has.
  const std::map<uint64_t, Root>& given_roots() const { return parts_.roots; }
  uint64_t blocks_tolerated() const { return blocks_.tolerated(); }  // BlockReader
  // Any tree of the root tree by id; no_tree if there is none.
  Result<Tree> tree(uint64_t id) const;
  // The newest root item of that id.
  Result<Root> root(uint64_t id) const;
  // The tree a root item describes, whatever its id.
  Tree tree_of(const Root& root) const;
  // The log root tree left by a crash, if there is one and the roots are not from a backup.
  std::optional<Tree> log_root_tree() const;
  // A tree with this root block; for log trees and tools.
  Tree tree_at(uint64_t id, const BlockPointer& root) const;

  // Lays items over a tree, from now on and for all who ask for it. Only before anyone uses it.
  void install_overlay(uint64_t tree_id, std::unique_ptr<ItemOverlay> overlay);

 private:
  Filesystem(std::unique_ptr<Volume> volume, cache::Cache& cache, FilesystemParts parts);
  Result<void> load_chunks(const BlockPointer& chunk_root);
  Result<BlockPointer> root_at(uint64_t tree, uint64_t bytenr) const;

  cache::Cache& cache_;
  std::unique_ptr<Volume> volume_;
  const FilesystemParts parts_;
  mutable BlockReader blocks_;
  Tree root_tree_, chunk_tree_;
  bool with_log_ = true;
  std::vector<DevItem> missing_;
  std::unordered_map<uint64_t, std::unique_ptr<ItemOverlay>> overlays_;
  mutable Mutex trees_mu_{trees_lock};
  mutable std::unordered_map<uint64_t, Tree> trees_ GUARDED_BY(trees_mu_);  // roots looked up so far
};

// A root item from its bytes, old or new form.
Root root_from_item(const Key& key, Bytes item);

}  // namespace karst::btrfs

// Node ids: the 64-bit numbers by which the kernel's FUSE client names inodes.
//
// They are computed, so that nothing is kept per inode and the same inode has the same number in every mount
// of the image (what backup programs remember stays right, and file handles outlive the mount, BT-063):
//
//   1                                  the root of the mount, whatever its inode number
//   inode                              in the mounted subvolume
//   subvolume << 40 | inode            elsewhere, if subvolume < 2^24 - 1 and inode < 2^40
//   0xffffff << 40 | serial            the rest: a table, of what the kernel knows at the moment
//
// In the table are the empty directories that stand in snapshots where a nested subvolume was (each name has
// its own: one directory may not have two names) and numbers that do not fit, which no file system reaches by
// use. Only look-ups make entries, each counts, and the kernel's forget takes them away again; so the table
// is as large as the kernel's own cache of such inodes.
//
// st_ino must be unique within the mount, since all has one st_dev and tar or rsync find hard links by the
// two. It is the node id, except that the mount's root has its inode number.
//
// Thread-safe.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "btrfs/file/attributes.h"
#include "core/mutex.h"

namespace karst::fuse {

enum class NodeId : uint64_t {};
constexpr NodeId root_node{1};
constexpr uint64_t raw(NodeId node) { return static_cast<uint64_t>(node); }

// What a node id stands for.
struct Node {
  btrfs::InodeId id;
  uint64_t parent = 0;  // of an empty directory in a snapshot: the directory it is in

  bool operator==(const Node&) const = default;
};

class NodeIds {
 public:
  explicit NodeIds(btrfs::InodeId root) : root_(root) {}

  // The id of an inode, if it needs no table.
  std::optional<NodeId> computed(btrfs::InodeId id) const;
  // The id of what a look-up of `name` in `parent` found. One in the table has one look-up more to be
  // forgotten.
  NodeId acquire(btrfs::InodeId id, uint64_t parent, std::string_view name);
  void forget(NodeId node, uint64_t lookups);
  // Nothing for an id that was never given out or is forgotten.
  std::optional<Node> find(NodeId node) const;

  uint64_t st_ino(NodeId node) const { return node == root_node ? root_.inode : raw(node); }
  size_t table_size() const;

 private:
  // Subvolume, inode; and for empty directories parent and name.
  using Key = std::tuple<uint64_t, uint64_t, uint64_t, std::string>;
  struct Entry {
    Key key;
    uint64_t lookups;
  };
  struct Table {
    std::map<Key, uint64_t> serials;
    std::unordered_map<uint64_t, Entry> entries;
    uint64_t next_serial = 0;
  };

  const btrfs::InodeId root_;
  static constexpr LockClass lock_class{"fuse.node-ids"};
  Guarded<Table> table_{lock_class};
};

}  // namespace karst::fuse

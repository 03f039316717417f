// The items of one inode but for its data extents, ready to be put into a tree.
//
// Sources of the rules: Linux fs/btrfs/inode-item.c (names), xattr.c and dir-item.c (sizes, collisions),
// inode.c (what a new inode has).
// Thread-safe: no state is shared.
#pragma once
#include <string>
#include <vector>

#include "btrfs/format/inode.h"
#include "btrfs/format/superblock.h"
#include "btrfs/tool/build/layout.h"
#include "core/function_ref.h"

namespace karst::btrfs::build {

// Items one after the other, in key order.
class ItemBuffer {
 public:
  void add(const Key& key, std::initializer_list<Bytes> pieces);
  Result<void> for_each(FunctionRef<Result<void>(const Key&, Bytes)> each) const;
  size_t size() const { return bytes_.size(); }

 private:
  struct Head {
    DiskKey key;
    le32 size;
  };
  std::vector<std::byte> bytes_;
};

// An inode of a walk with everything that a worker needs, detached from the walk.
struct InodeCopy {
  explicit InodeCopy(const Inode& inode);
  void add_child(const Child& child);
  // What cannot be read is gone on without: the name stays; a symlink keeps its target, a file is empty.
  void leave_out();

  struct Name {
    uint64_t directory, index;
    uint32_t at, length;  // in `text`
  };
  struct Entry {
    uint64_t index, number;
    uint32_t at;
    uint8_t length;
    FileType type;
    bool is_subvolume;
  };
  std::string_view text_of(uint32_t at, uint32_t length) const {
    return std::string_view(text).substr(at, length);
  }
  Origin origin_view() const { return {source, text_of(0, origin_length), change_token}; }

  uint64_t number;
  Attributes attributes;
  Properties properties;
  std::string path;  // in its subvolume, for messages
  std::string text;  // the path in the source, then names
  uint32_t origin_length = 0, source = 0;
  uint64_t change_token = 0;
  bool has_origin = false, xattrs_from_origin = false, may_be_sparse = false;
  ContentKind content;
  std::vector<std::byte> content_bytes;
  std::vector<Name> names;
  std::vector<Entry> entries;  // not those of a large directory (large_directory.h)
  uint64_t entry_name_bytes = 0;
  XattrChanges xattrs;
};

struct InodeFacts {
  uint64_t generation = 0;
  uint64_t size = 0;    // of files; directories have twice their names' bytes
  uint64_t nbytes = 0;  // allocated
  std::span<const std::pair<std::string, std::string>> xattrs;  // by name, no two the same
  bool compressed = false;                                      // the property is set
};

// An entry of a directory, as the items of both its kinds have it.
std::string directory_entry(const Child& child, uint64_t generation);
// Whether what has one hash fits into a leaf: err::source_unsupported.
Result<void> check_hashed_item(size_t size, const Geometry& geometry);

// Errors, which name the path's rule: err::source_name_too_long and err::source_too_many_links for names and
// err::source_unsupported for attributes and collisions that do not fit into a tree block.
Result<void> inode_items(const InodeCopy& inode, const InodeFacts& facts, const Geometry& geometry,
                         ItemBuffer& out);

}  // namespace karst::btrfs::build

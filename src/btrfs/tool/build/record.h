// Records of the inventory, as they lie in sorters.
//
// Keys put all that is said about a path together, in the order in which it was said, and paths in the order
// in which inodes are numbered: be32 place of the subvolume, be32 depth, the path from the subvolume's root
// with NUL for each slash and one at its end, be64 sequence. Settled entries have no sequence.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "btrfs/tool/build/inventory.h"
#include "core/endian.h"

namespace karst::btrfs::build {

using RecordBytes = std::vector<std::byte>;

struct KeyHead {
  be32 subvolume;
  be32 depth;
};
static_assert(sizeof(KeyHead) == 8 && Overlay<KeyHead>);

// Replaces what is in `key`.
void encode_key(RecordBytes& key, size_t subvolume, std::string_view path);
void append_sequence(RecordBytes& key, uint64_t sequence);

// A key taken apart. Borrowed.
struct KeyView {
  Bytes place;  // all but the sequence
  uint64_t sequence;

  size_t subvolume() const;
  uint32_t depth() const;
  // The path with NULs for slashes.
  std::string_view raw_path() const;
  std::string_view name() const;    // its last component
  std::string_view parent() const;  // raw_path() of the directory; empty in the root, and of it
};
KeyView view_key(Bytes key);          // with a sequence
KeyView view_settled_key(Bytes key);  // without
// Replaces what is in `key`: the settled key of the directory that the path is in. Not of a root.
void encode_parent_key(RecordBytes& key, const KeyView& path);
// The path with slashes.
void decode_path(std::string_view raw, std::string& path);

enum class RecordKind : uint8_t {
  put,
  patch,
  remove,
  clear,
  link,         // the path is another name of what `target` then was
  link_target,  // at the target: the path in `target` is to be another name
  ensure_directory,
  subvolume,  // a subvolume's entry in its directory; its place is in `subvolume`
};

// A record in host form. Views borrow from what it was decoded from, or from the caller.
struct Record {
  RecordKind kind = RecordKind::put;
  Attributes attributes;  // put
  std::optional<AttributesPatch> patch;
  ContentKind content = ContentKind::none;
  Bytes content_bytes;
  std::optional<FileOrigin> origin;
  std::optional<LinkKey> link_key;
  uint64_t attributes_sequence = 0;      // of what was said last about its attributes
  const XattrChanges* xattrs = nullptr;  // to encode
  Bytes xattr_bytes;                     // encoded
  Bytes target;  // link: key of the target without sequence; link_target: the whole key of the link
  uint32_t subvolume = 0;
  // Settled entries only:
  uint64_t number = 0, directory = 0, index = 0;
};

// Replaces what is in `value`. `path`: the record's own, absolute; an origin's path that ends it is stored as
// a length.
void encode_record(RecordBytes& value, const Record& record, std::string_view path);
// `path` as for encoding; the origin's path borrows from it or from value.
Record decode_record(Bytes value, std::string_view path);

// The parts of an encoded record that are looked at for each, without decoding the rest.
RecordKind kind_of(Bytes value);
uint32_t mode_of(Bytes value);
ContentKind content_of(Bytes value);
bool has_link_key(Bytes value);
uint64_t size_of(Bytes value);
uint64_t number_of(Bytes value);
uint64_t directory_of(Bytes value);
uint64_t index_of(Bytes value);
// Changes an encoded record in place: its numbers, and its times as a reproducible image has them.
void settle(RecordBytes& value, uint64_t number, uint64_t directory, uint64_t index,
            std::optional<int64_t> epoch);

// Xattrs sorted by name, each name once: the later ones win. `keep_removals`: those without a value stay,
// since they speak about the origin's attributes.
void decode_xattrs(Bytes encoded, XattrChanges& out);
XattrChanges merge_xattrs(const XattrChanges& before, const XattrChanges& later, bool keep_removals);

}  // namespace karst::btrfs::build

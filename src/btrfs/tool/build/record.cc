#include "btrfs/tool/build/record.h"

#include <algorithm>
#include <cstring>

#include "core/assert.h"
#include "core/varint.h"

namespace karst::btrfs::build {
namespace {
enum Flag : uint16_t {
  has_patch = 1,
  has_origin = 2,
  origin_is_tail_of_path = 4,
  read_xattrs = 8,
  may_be_sparse = 16,
  with_link_key = 32,
  has_xattrs = 64,
};
enum PatchFlag : uint8_t {
  patch_permissions = 1,
  patch_uid = 2,
  patch_gid = 4,
  patch_atime = 8,
  patch_mtime = 16,
  patch_ctime = 32,
  patch_otime = 64,
  patch_access = 128,
};

struct StoredTime {
  sle64 seconds;
  le32 nanoseconds;
};
StoredTime stored(Time time) { return {time.seconds, time.nanoseconds}; }
Time host(const StoredTime& time) { return {time.seconds, time.nanoseconds}; }

// Temporary files end with the process; the layout is what is compact, not what is portable.
struct StoredHead {
  uint8_t kind;
  uint8_t content;
  uint8_t patch;  // a mask of PatchFlag
  le16 flags;     // of Flag
  le32 mode, uid, gid;
  le32 device_major, device_minor;
  le32 subvolume;
  le64 size;
  StoredTime atime, mtime, ctime, otime;
  le64 attributes_sequence;
  le64 number, directory, index;
};
static_assert(Overlay<StoredHead>);

struct StoredOrigin {
  le32 source;
  le64 change_token;
};
struct StoredLinkKey {
  le64 source, device, inode;
};

void append(RecordBytes& out, Bytes bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); }
template <Overlay T>
void append_struct(RecordBytes& out, const T& value) {
  append(out, bytes_of(value));
}
void append_sized(RecordBytes& out, Bytes bytes) {
  append_varint(out, bytes.size());
  append(out, bytes);
}

// Over what encode_record() wrote.
class Decoder {
 public:
  explicit Decoder(Bytes bytes) : at_(bytes.data()), end_(at_ + bytes.size()) {}
  template <Overlay T>
  T take() {
    T value;
    std::memcpy(&value, at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  uint64_t number() { return take_varint(at_); }
  Bytes take_bytes(size_t size) {
    Bytes bytes(at_, size);
    at_ += size;
    return bytes;
  }
  Bytes sized() { return take_bytes(number()); }
  Bytes rest() { return take_bytes(static_cast<size_t>(end_ - at_)); }
  bool at_end() const { return at_ == end_; }

 private:
  const std::byte *at_, *end_;
};

uint8_t patch_mask(const AttributesPatch& patch) {
  return static_cast<uint8_t>((patch.permissions ? patch_permissions : 0) | (patch.uid ? patch_uid : 0) |
                              (patch.gid ? patch_gid : 0) | (patch.atime ? patch_atime : 0) |
                              (patch.mtime ? patch_mtime : 0) | (patch.ctime ? patch_ctime : 0) |
                              (patch.otime ? patch_otime : 0) | (patch.access ? patch_access : 0));
}

AttributesPatch host_patch(const StoredHead& head) {
  AttributesPatch patch;
  if (head.patch & patch_permissions) patch.permissions = head.mode.value() & 07777;
  if (head.patch & patch_access) patch.access = head.mode.value() & 0777;
  if (head.patch & patch_uid) patch.uid = head.uid;
  if (head.patch & patch_gid) patch.gid = head.gid;
  if (head.patch & patch_atime) patch.atime = host(head.atime);
  if (head.patch & patch_mtime) patch.mtime = host(head.mtime);
  if (head.patch & patch_ctime) patch.ctime = host(head.ctime);
  if (head.patch & patch_otime) patch.otime = host(head.otime);
  return patch;
}

void encode_xattrs(RecordBytes& out, const XattrChanges& xattrs) {
  RecordBytes bytes;
  for (const XattrChange& xattr : xattrs) {
    append_sized(bytes, as_bytes(xattr.name));
    append_varint(bytes, xattr.value ? xattr.value->size() + 1 : 0);  // 0: taken away
    if (xattr.value) append(bytes, as_bytes(*xattr.value));
  }
  append_sized(out, bytes);
}

bool is_tail(std::string_view path, std::string_view tail) {
  return path.ends_with(tail) &&
         (path.size() == tail.size() || tail.empty() || path[path.size() - tail.size() - 1] == '/');
}
}  // namespace

void encode_key(RecordBytes& key, size_t subvolume, std::string_view path) {
  key.resize(sizeof(KeyHead) + path.size() + 1);
  std::byte* out = key.data() + sizeof(KeyHead);
  uint32_t depth = path.empty() ? 0 : 1;
  for (char byte : path) {
    depth += byte == '/';
    *out++ = static_cast<std::byte>(byte == '/' ? '\0' : byte);
  }
  *out = std::byte{0};
  const KeyHead head{static_cast<uint32_t>(subvolume), depth};
  std::memcpy(key.data(), &head, sizeof head);
}

void append_sequence(RecordBytes& key, uint64_t sequence) { append_struct(key, be64(sequence)); }

size_t KeyView::subvolume() const { return overlay<KeyHead>(place)->subvolume; }
uint32_t KeyView::depth() const { return overlay<KeyHead>(place)->depth; }
std::string_view KeyView::raw_path() const {
  return as_text(place.subspan(sizeof(KeyHead), place.size() - sizeof(KeyHead) - 1));
}
std::string_view KeyView::name() const {
  const std::string_view path = raw_path();
  const size_t end = path.rfind('\0');
  return end == path.npos ? path : path.substr(end + 1);
}
std::string_view KeyView::parent() const {
  const std::string_view path = raw_path();
  const size_t end = path.rfind('\0');
  return end == path.npos ? std::string_view() : path.substr(0, end);
}

KeyView view_key(Bytes key) {
  const size_t place = key.size() - sizeof(be64);
  return {key.first(place), *overlay<be64>(key, place)};
}
KeyView view_settled_key(Bytes key) { return {key, 0}; }

void encode_parent_key(RecordBytes& key, const KeyView& path) {
  const KeyHead head{static_cast<uint32_t>(path.subvolume()), path.depth() - 1};
  const std::string_view parent = path.parent();
  key.assign(bytes_of(head).begin(), bytes_of(head).end());
  key.insert(key.end(), as_bytes(parent).begin(), as_bytes(parent).end());
  key.push_back(std::byte{0});
}

void decode_path(std::string_view raw, std::string& path) {
  path.assign(raw);
  std::replace(path.begin(), path.end(), '\0', '/');
}

void encode_record(RecordBytes& value, const Record& record, std::string_view path) {
  value.clear();
  const AttributesPatch patch = record.patch.value_or(AttributesPatch());
  Attributes attributes = record.attributes;
  if (record.patch) patch.apply(attributes);
  bool tail = false;
  uint16_t flags = record.patch ? has_patch : 0;
  if (record.origin) {
    tail = is_tail(path, record.origin->path);
    flags |= has_origin | (tail ? origin_is_tail_of_path : 0);
    flags |=
        (record.origin->read_xattrs ? read_xattrs : 0) | (record.origin->may_be_sparse ? may_be_sparse : 0);
  }
  if (record.link_key) flags |= with_link_key;
  const bool new_xattrs = record.xattrs && !record.xattrs->empty();
  if (new_xattrs || !record.xattr_bytes.empty()) flags |= has_xattrs;
  append_struct(value, StoredHead{
                           .kind = static_cast<uint8_t>(record.kind),
                           .content = static_cast<uint8_t>(record.content),
                           .patch = patch_mask(patch),
                           .flags = flags,
                           .mode = attributes.mode,
                           .uid = attributes.uid,
                           .gid = attributes.gid,
                           .device_major = attributes.device_major,
                           .device_minor = attributes.device_minor,
                           .subvolume = record.subvolume,
                           .size = attributes.size,
                           .atime = stored(attributes.atime),
                           .mtime = stored(attributes.mtime),
                           .ctime = stored(attributes.ctime),
                           .otime = stored(attributes.otime),
                           .attributes_sequence = record.attributes_sequence,
                           .number = record.number,
                           .directory = record.directory,
                           .index = record.index,
                       });
  if (record.origin) {
    append_struct(value, StoredOrigin{record.origin->source, record.origin->change_token});
    append_varint(value, record.origin->path.size());
    if (!tail) append(value, as_bytes(record.origin->path));
  }
  if (record.link_key)
    append_struct(value,
                  StoredLinkKey{record.link_key->source, record.link_key->device, record.link_key->inode});
  if (new_xattrs)
    encode_xattrs(value, *record.xattrs);
  else if (flags & has_xattrs)
    append_sized(value, record.xattr_bytes);
  append(value, record.target.empty() ? record.content_bytes : record.target);
}

Record decode_record(Bytes value, std::string_view path) {
  Decoder from(value);
  const auto head = from.take<StoredHead>();
  Record record;
  record.kind = static_cast<RecordKind>(head.kind);
  record.content = static_cast<ContentKind>(head.content);
  record.attributes = {.mode = head.mode,
                       .uid = head.uid,
                       .gid = head.gid,
                       .device_major = head.device_major,
                       .device_minor = head.device_minor,
                       .size = head.size,
                       .atime = host(head.atime),
                       .mtime = host(head.mtime),
                       .ctime = host(head.ctime),
                       .otime = host(head.otime)};
  if (head.flags & has_patch) record.patch = host_patch(head);
  record.subvolume = head.subvolume;
  record.attributes_sequence = head.attributes_sequence;
  record.number = head.number;
  record.directory = head.directory;
  record.index = head.index;
  if (head.flags & has_origin) {
    const auto origin = from.take<StoredOrigin>();
    const size_t size = from.number();
    record.origin = FileOrigin{.source = origin.source,
                               .path = head.flags & origin_is_tail_of_path ? path.substr(path.size() - size)
                                                                           : as_text(from.take_bytes(size)),
                               .change_token = origin.change_token,
                               .read_xattrs = (head.flags & read_xattrs) != 0,
                               .may_be_sparse = (head.flags & may_be_sparse) != 0};
  }
  if (head.flags & with_link_key) {
    const auto key = from.take<StoredLinkKey>();
    record.link_key = LinkKey{key.source, key.device, key.inode};
  }
  if (head.flags & has_xattrs) record.xattr_bytes = from.sized();
  const bool is_link = record.kind == RecordKind::link || record.kind == RecordKind::link_target;
  (is_link ? record.target : record.content_bytes) = from.rest();
  return record;
}

RecordKind kind_of(Bytes value) { return static_cast<RecordKind>(overlay<StoredHead>(value)->kind); }
uint32_t mode_of(Bytes value) { return overlay<StoredHead>(value)->mode; }
ContentKind content_of(Bytes value) { return static_cast<ContentKind>(overlay<StoredHead>(value)->content); }
bool has_link_key(Bytes value) { return overlay<StoredHead>(value)->flags & with_link_key; }
uint64_t size_of(Bytes value) { return overlay<StoredHead>(value)->size; }
uint64_t number_of(Bytes value) { return overlay<StoredHead>(value)->number; }
uint64_t directory_of(Bytes value) { return overlay<StoredHead>(value)->directory; }
uint64_t index_of(Bytes value) { return overlay<StoredHead>(value)->index; }

void settle(RecordBytes& value, uint64_t number, uint64_t directory, uint64_t index,
            std::optional<int64_t> epoch) {
  StoredHead head;
  std::memcpy(&head, value.data(), sizeof head);
  head.number = number;
  head.directory = directory;
  head.index = index;
  if (epoch) {
    const StoredTime limit = stored({*epoch, 0});
    if (host(head.mtime) > host(limit)) head.mtime = limit;
    head.atime = head.ctime = head.otime = limit;
  }
  std::memcpy(value.data(), &head, sizeof head);
}

void decode_xattrs(Bytes encoded, XattrChanges& out) {
  out.clear();
  for (Decoder from(encoded); !from.at_end();) {
    XattrChange xattr;
    xattr.name = as_text(from.sized());
    if (const uint64_t size = from.number(); size > 0) xattr.value = as_text(from.take_bytes(size - 1));
    out.push_back(std::move(xattr));
  }
}

XattrChanges merge_xattrs(const XattrChanges& before, const XattrChanges& later, bool keep_removals) {
  XattrChanges all = before;
  all.insert(all.end(), later.begin(), later.end());
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  XattrChanges merged;
  for (size_t i = 0; i < all.size(); ++i) {
    const bool last_of_name = i + 1 == all.size() || all[i + 1].name != all[i].name;
    if (last_of_name && (all[i].value || keep_removals)) merged.push_back(std::move(all[i]));
  }
  return merged;
}

}  // namespace karst::btrfs::build

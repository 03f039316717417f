#include "btrfs/tool/build/inode_items.h"

#include <algorithm>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tree/bulk_tree.h"

namespace karst::btrfs::build {
namespace {

template <Overlay T>
void put(std::string& out, const T& value) {
  out += as_text(bytes_of(value));
}
Timespec disk_time(const Time& time) { return {time.seconds, time.nanoseconds}; }

InodeItem inode_item(const InodeCopy& inode, const InodeFacts& facts) {
  const Attributes& from = inode.attributes;
  InodeItem item{};
  item.generation = item.transid = facts.generation;
  item.size = from.is_directory() ? 2 * inode.entry_name_bytes : facts.size;
  item.nbytes = facts.nbytes;
  // A directory has one name, and a root directory none.
  item.nlink = static_cast<uint32_t>(std::max<size_t>(inode.names.size(), 1));
  item.uid = from.uid;
  item.gid = from.gid;
  item.mode = from.mode;
  item.rdev = from.rdev();
  if (from.is_regular() || from.is_directory()) {
    if (inode.properties.nodatacow) item.flags |= inode_flag::nodatacow;
    // As Linux: what directories pass on to files (fs/btrfs/inode.c, btrfs_inherit_iflags()).
    if (inode.properties.nodatacow && from.is_regular()) item.flags |= inode_flag::nodatasum;
    if (facts.compressed) item.flags |= inode_flag::compress;
    if (inode.properties.compression == CompressionChoice::none) item.flags |= inode_flag::nocompress;
  }
  item.atime = disk_time(from.atime);
  item.ctime = disk_time(from.ctime);
  item.mtime = disk_time(from.mtime);
  item.otime = disk_time(from.otime);
  return item;
}

// Entries under their hashes: those with one hash are one item.
class HashedItems {
 public:
  HashedItems(uint64_t inode, ItemType type) : inode_(inode), type_(type) {}
  void add(uint64_t hash, std::string bytes) { items_.emplace_back(hash, std::move(bytes)); }
  Result<void> give(const Geometry& geometry, ItemBuffer& out) {
    std::stable_sort(items_.begin(), items_.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    for (size_t i = 0; i < items_.size();) {
      std::string bytes = std::move(items_[i].second);
      const uint64_t hash = items_[i].first;
      for (++i; i < items_.size() && items_[i].first == hash; ++i) bytes += items_[i].second;
      TRY(check_hashed_item(bytes.size(), geometry));
      out.add({inode_, type_, hash}, {as_bytes(bytes)});
    }
    return {};
  }

 private:
  const uint64_t inode_;
  const ItemType type_;
  std::vector<std::pair<uint64_t, std::string>> items_;
};

Result<void> name_items(const InodeCopy& inode, const Geometry& geometry, ItemBuffer& out) {
  if (inode.names.empty()) {  // a subvolume's root directory
    out.add({inode.number, ItemType::inode_ref, inode.number}, {bytes_of(InodeRef{0, 2}), as_bytes("..")});
    return {};
  }
  // As many of a directory's names in one item as fit; the others get items of their own.
  HashedItems extended(inode.number, ItemType::inode_extref);
  const size_t limit = BulkTree::max_item_size(geometry.nodesize);
  for (size_t i = 0; i < inode.names.size();) {
    std::string bytes;
    const uint64_t directory = inode.names[i].directory;
    for (; i < inode.names.size() && inode.names[i].directory == directory; ++i) {
      const InodeCopy::Name& link = inode.names[i];
      std::string_view name = inode.text_of(link.at, link.length);
      if (bytes.size() + sizeof(InodeRef) + name.size() <= limit) {
        put(bytes, InodeRef{link.index, static_cast<uint16_t>(name.size())});
        bytes += name;
        continue;
      }
      if (!geometry.has(incompat::extended_iref))
        return Error(err::source_too_many_links, "too many names in one directory without feature extref");
      std::string item;
      put(item, InodeExtref{directory, link.index, static_cast<uint16_t>(name.size())});
      extended.add(extref_hash(directory, name), item.append(name));
    }
    out.add({inode.number, ItemType::inode_ref, directory}, {as_bytes(bytes)});
  }
  return extended.give(geometry, out);
}

Result<void> xattr_items(const InodeCopy& inode, const InodeFacts& facts, const Geometry& geometry,
                         ItemBuffer& out) {
  HashedItems items(inode.number, ItemType::xattr_item);
  const size_t limit = BulkTree::max_item_size(geometry.nodesize) - sizeof(DirItem);
  for (const auto& [name, value] : facts.xattrs) {
    if (name.size() + value.size() > limit)
      return Error::make(err::source_unsupported, "extended attribute {} too large", name)
          .expected(fmt::format("at most {} bytes with its name", limit), name.size() + value.size());
    std::string item;
    put(item, DirItem{DiskKey{}, facts.generation, static_cast<uint16_t>(value.size()),
                      static_cast<uint16_t>(name.size()), static_cast<uint8_t>(FileType::xattr)});
    items.add(name_hash(name), item.append(name).append(value));
  }
  return items.give(geometry, out);
}

Result<void> directory_items(const InodeCopy& inode, const InodeFacts& facts, const Geometry& geometry,
                             ItemBuffer& out) {
  auto bytes = [&](const InodeCopy::Entry& entry) {
    return directory_entry({.name = inode.text_of(entry.at, entry.length),
                            .index = entry.index,
                            .number = entry.number,
                            .is_subvolume = entry.is_subvolume,
                            .type = entry.type},
                           facts.generation);
  };
  HashedItems hashed(inode.number, ItemType::dir_item);
  for (const InodeCopy::Entry& entry : inode.entries)
    hashed.add(name_hash(inode.text_of(entry.at, entry.length)), bytes(entry));
  TRY(hashed.give(geometry, out));
  for (const InodeCopy::Entry& entry : inode.entries)
    out.add({inode.number, ItemType::dir_index, entry.index}, {as_bytes(bytes(entry))});
  return {};
}

}  // namespace

std::string directory_entry(const Child& child, uint64_t generation) {
  const Key location = child.is_subvolume ? Key{child.number, ItemType::root_item, ~0ull}
                                          : Key{child.number, ItemType::inode_item, 0};
  std::string bytes;
  bytes.reserve(sizeof(DirItem) + child.name.size());
  put(bytes, DirItem{DiskKey::from(location), generation, 0, static_cast<uint16_t>(child.name.size()),
                     static_cast<uint8_t>(child.type)});
  return bytes.append(child.name);
}

Result<void> check_hashed_item(size_t size, const Geometry& geometry) {
  const uint32_t most = BulkTree::max_item_size(geometry.nodesize);
  if (size <= most) return {};
  return Error(err::source_unsupported, "names or attributes with one hash do not fit into a tree block")
      .expected(fmt::format("at most {} bytes", most), size);
}

void ItemBuffer::add(const Key& key, std::initializer_list<Bytes> pieces) {
  size_t size = 0;
  for (Bytes piece : pieces) size += piece.size();
  const Head head{DiskKey::from(key), static_cast<uint32_t>(size)};
  // All of the item or nothing; resize() grows by factors, where reserve() would move everything each time.
  const size_t at = bytes_.size();
  bytes_.resize(at + sizeof head + size);
  std::byte* to = std::ranges::copy(bytes_of(head), bytes_.data() + at).out;
  for (Bytes piece : pieces) to = std::ranges::copy(piece, to).out;
}

Result<void> ItemBuffer::for_each(FunctionRef<Result<void>(const Key&, Bytes)> each) const {
  for (size_t at = 0; at < bytes_.size();) {
    const Head& head = *overlay<Head>(bytes_, at);
    TRY(each(head.key.key(), Bytes(bytes_).subspan(at + sizeof head, head.size)));
    at += sizeof head + head.size;
  }
  return {};
}

InodeCopy::InodeCopy(const Inode& inode)
    : number(inode.number),
      attributes(inode.attributes),
      properties(inode.properties),
      path(inode.path),
      may_be_sparse(inode.may_be_sparse),
      content(inode.content),
      content_bytes(inode.content_bytes.begin(), inode.content_bytes.end()),
      xattrs(inode.xattrs.begin(), inode.xattrs.end()) {
  if (inode.origin) {
    has_origin = true;
    xattrs_from_origin = inode.xattrs_from_origin;
    source = inode.origin->source;
    change_token = inode.origin->change_token;
    text = inode.origin->path;
    origin_length = static_cast<uint32_t>(text.size());
  }
  for (const Link& link : inode.links) {
    names.push_back({link.directory, link.index, static_cast<uint32_t>(text.size()),
                     static_cast<uint32_t>(link.name.size())});
    text += link.name;
  }
}

void InodeCopy::leave_out() {
  if (attributes.is_regular()) content = ContentKind::none, attributes.size = 0;
  xattrs_from_origin = false;
  xattrs.clear();
}

void InodeCopy::add_child(const Child& child) {
  entries.push_back({child.index, child.number, static_cast<uint32_t>(text.size()),
                     static_cast<uint8_t>(child.name.size()), child.type, child.is_subvolume});
  text += child.name;
  entry_name_bytes += child.name.size();
}

Result<void> inode_items(const InodeCopy& inode, const InodeFacts& facts, const Geometry& geometry,
                         ItemBuffer& out) {
  InodeItem item = inode_item(inode, facts);
  out.add({inode.number, ItemType::inode_item, 0}, {bytes_of(item)});
  TRY(name_items(inode, geometry, out));
  TRY(xattr_items(inode, facts, geometry, out));
  if (inode.attributes.is_directory()) TRY(directory_items(inode, facts, geometry, out));
  return {};
}

}  // namespace karst::btrfs::build

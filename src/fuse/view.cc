#include "fuse/view.h"

#include <cstdlib>

#include "btrfs/file/names.h"
#include "btrfs/file/xattr.h"

namespace karst::fuse {

using namespace btrfs;

namespace {

// Room for the last sector of a file, which the reader may fill beyond the file's end.
constexpr size_t buffer_size = View::read_size_max + (64 << 10);

mode_t type_bits(FileType type) {
  switch (type) {
    case FileType::regular: return S_IFREG;
    case FileType::directory: return S_IFDIR;
    case FileType::character: return S_IFCHR;
    case FileType::block: return S_IFBLK;
    case FileType::fifo: return S_IFIFO;
    case FileType::socket: return S_IFSOCK;
    case FileType::symlink: return S_IFLNK;
    default: return 0;
  }
}

// The kernel's FUSE client gives up the whole listing for a name like these.
bool is_servable(std::string_view name) {
  return !name.empty() && name.size() <= max_name_length && name != "." && name != ".." &&
         name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

Error not_here(const Node& node) {
  return Error(karst::err::not_found, "no such entry")
      .at("subvolume", node.id.subvolume)
      .at("inode", node.id.inode);
}

}  // namespace

View::View(Served& served)
    : served_(served),
      fs_(served.image.fs()),
      reader_(fs_, served.image.data()),
      buffer_(static_cast<std::byte*>(std::aligned_alloc(4096, buffer_size)), std::free) {
  if (!buffer_) throw std::bad_alloc();
}
View::~View() = default;

Result<Node> View::node(NodeId node) const {
  if (auto found = served_.nodes.find(node)) return *found;
  return Error(karst::err::not_found, "no such node").at("node", raw(node));
}

Result<Cursor*> View::cursor(uint64_t subvolume) {
  if (!tree_.blocks || tree_.id != subvolume) {
    Tree tree = TRY(fs_.tree(subvolume));
    cursor_ = Cursor(tree);
    tree_ = tree;
  }
  return &cursor_;
}

Result<Attributes> View::attributes(const Node& node) {
  Cursor& cursor = *TRY(this->cursor(node.id.subvolume));
  if (node.id.is_empty_subvolume()) return empty_subvolume_attributes(cursor, node.parent);
  return read_attributes(cursor, node.id.inode);
}

Result<View::Entry> View::entry_of(NodeId node, const Node& what) {
  Attributes attributes = TRY(this->attributes(what));
  Entry entry{node, attributes.generation, attributes.to_stat(fs_.geometry().sectorsize)};
  entry.stat.st_ino = served_.nodes.st_ino(node);
  return entry;
}

Result<View::Entry> View::entry(NodeId node) { return entry_of(node, TRY(this->node(node))); }

// The directory that a directory is in, across subvolumes; the mount's root is in itself.
Result<Node> View::parent_of(const Node& directory) {
  if (directory.id == served_.image.root()) return directory;
  if (directory.id.is_empty_subvolume()) return Node{{directory.id.subvolume, directory.parent}};
  Root root = TRY(fs_.root(directory.id.subvolume));
  if (directory.id.inode == root.item.root_dirid) {
    Cursor cursor(fs_.root_tree());
    TRY(cursor.seek({directory.id.subvolume, ItemType::root_backref, 0}));
    if (!cursor.valid() || cursor.key().objectid != directory.id.subvolume ||
        cursor.key().type != ItemType::root_backref)
      return not_here(directory);
    return Node{{cursor.key().offset, cursor.as<RootRef>()->dirid}};
  }
  std::optional<uint64_t> parent;
  TRY(for_each_link(*TRY(cursor(directory.id.subvolume)), directory.id.inode,
                    [&](const Link& link) -> Result<void> {
                      parent = link.parent;
                      return {};
                    }));
  if (!parent) return not_here(directory);
  return Node{{directory.id.subvolume, *parent}};
}

Result<std::optional<View::Entry>> View::look_up(NodeId directory, std::string_view name) {
  const Node in = TRY(node(directory));
  if (name == ".") return std::optional(TRY(entry(directory)));
  if (name == "..") {
    Node parent = TRY(parent_of(in));
    auto id = served_.nodes.computed(parent.id);
    if (!id) return not_here(in);
    return std::optional(TRY(entry_of(*id, parent)));
  }
  if (in.id.is_empty_subvolume()) return std::optional<Entry>();
  if (name.size() > max_name_length) return Error(karst::err::too_long, "name too long");
  Cursor& cursor = *TRY(this->cursor(in.id.subvolume));
  auto found = TRY(btrfs::look_up(fs_, cursor, tree_, in.id.inode, name));
  if (!found) return std::optional<Entry>();
  const Node target{found->target, found->target.is_empty_subvolume() ? in.id.inode : 0};
  NodeId id = served_.nodes.acquire(target.id, in.id.inode, name);
  auto entry = entry_of(id, target);
  if (!entry) {
    served_.nodes.forget(id, 1);
    return std::move(entry).error();
  }
  return std::optional(*entry);
}

std::optional<View::Listed> View::listed(const DirectoryEntry& found, uint64_t directory, With with) {
  if (!is_servable(found.name)) return std::nullopt;
  Listed item{found.name, 0, type_bits(found.type), found.index + 1, {}};
  const Node target{found.target, directory};
  auto id = served_.nodes.computed(found.target);
  item.st_ino = id ? served_.nodes.st_ino(*id) : found.target.inode;
  // Without attributes where there are none: looking the name up tells the error.
  if (id && with == With::attributes)
    if (auto entry = entry_of(*id, target)) item.entry = *entry;
  return item;
}

Result<void> View::list(NodeId directory, uint64_t position, With with, FunctionRef<bool(const Listed&)> take,
                        FunctionRef<void(const Error&)> left_out) {
  // Positions: 0 ".", 1 "..", then the index of each name; the kernel's btrfs has the same, from 2.
  const Node in = TRY(node(directory));
  if (position == 0) {
    if (!take({".", served_.nodes.st_ino(directory), S_IFDIR, 1, {}})) return {};
    position = 1;
  }
  if (position == 1) {
    auto parent = parent_of(in);
    auto id = parent ? served_.nodes.computed(parent->id) : std::nullopt;
    if (!take({"..", served_.nodes.st_ino(id.value_or(directory)), S_IFDIR, 2, {}})) return {};
    position = 2;
  }
  if (in.id.is_empty_subvolume()) return {};
  const Tree tree = TRY(fs_.tree(in.id.subvolume));
  DirectoryLister lister(fs_, tree, in.id.inode);
  std::optional<Error> unreadable;
  for (auto found = lister.seek(position);; found = lister.next()) {
    if (!found) {
      // The lister goes on after one bad entry, but not after a bad block: two errors end the listing.
      if (unreadable) return std::move(found).error();
      unreadable = std::move(found).error();
      continue;
    }
    if (!*found) break;
    if (unreadable) left_out(*unreadable);
    unreadable.reset();
    if ((*found)->index > INT64_MAX - 1) break;  // no position for it
    auto item = listed(**found, in.id.inode, with);
    if (!item)
      left_out(Error(karst::err::corrupt, "name cannot be shown")
                   .at("directory", in.id.inode)
                   .at("index", (*found)->index));
    else if (!take(*item))
      return {};
  }
  if (unreadable) return std::move(*unreadable);
  return {};
}

Result<std::string> View::read_link(NodeId node) {
  const Node what = TRY(this->node(node));
  Attributes attributes = TRY(this->attributes(what));
  if (!attributes.is_symlink()) return Error(karst::err::invalid, "not a symbolic link");
  return read_symlink(cursor_, attributes);
}

Result<std::string> View::xattr(NodeId node, std::string_view name) {
  const Node what = TRY(this->node(node));
  if (what.id.is_empty_subvolume()) return Error(karst::err::no_attribute, "no such attribute");
  return std::string(as_text(TRY(read_xattr(*TRY(cursor(what.id.subvolume)), what.id.inode, name))));
}

Result<std::string> View::xattr_names(NodeId node) {
  const Node what = TRY(this->node(node));
  std::string names;
  if (what.id.is_empty_subvolume()) return names;
  TRY(for_each_xattr(*TRY(cursor(what.id.subvolume)), what.id.inode,
                     [&](std::string_view name, Bytes) -> Result<void> {
                       names.append(name).push_back('\0');
                       return {};
                     }));
  return names;
}

Result<Bytes> View::read(NodeId node, uint64_t offset, size_t size) {
  const Node what = TRY(this->node(node));
  Attributes attributes = TRY(this->attributes(what));
  if (!attributes.is_regular()) return Error(karst::err::invalid, "not a file");
  const MutableBytes room(buffer_.get(), std::min(size, read_size_max));
  size_t done = TRY(reader_.read(tree_, attributes, offset, room));
  return Bytes(room.first(done));
}

Result<std::optional<uint64_t>> View::seek(NodeId node, uint64_t offset, Seek what) {
  const Node file = TRY(this->node(node));
  Attributes attributes = TRY(this->attributes(file));
  if (what == Seek::data) return reader_.seek_data(tree_, attributes, offset);
  return reader_.seek_hole(tree_, attributes, offset);
}

}  // namespace karst::fuse

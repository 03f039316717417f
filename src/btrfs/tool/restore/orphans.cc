#include "btrfs/tool/restore/orphans.h"

#include <algorithm>
#include <bit>

#include "btrfs/file/lost_inode.h"
#include "btrfs/file/names.h"

namespace karst::btrfs {
namespace {

// Deeper than any path that a file system lets one make.
constexpr size_t depth_max = 4096;

std::string joined(std::string path, std::string_view name) {
  if (!path.empty() && !name.empty()) path += '/';
  path += name;
  return path;
}

std::string place_for_nameless(InodeId id) {
  return fmt::format("{}/{}/{}", lost_and_found, id.subvolume, id.inode);
}

}  // namespace

const std::string& Places::of_directory(Cursor& cursor, InodeId id) {
  if (!last_ || last_->first != id) last_.emplace(id, find_directory(cursor, id));
  return last_->second;
}

std::string Places::find_directory(Cursor& cursor, InodeId id) const {
  std::vector<std::pair<uint64_t, std::string>> way;  // inodes with their names, innermost first
  const std::string* known = nullptr;
  uint64_t noted = 0;  // comes again if the way is a loop (Brent)
  bool loop = false;
  while (!(known = find(id)) && way.size() < depth_max && !(loop = id.inode == noted)) {
    if (std::has_single_bit(way.size())) noted = id.inode;
    std::optional<uint64_t> parent;
    std::string name;
    auto named = for_each_link(cursor, id.inode, [&](const Link& link) -> Result<void> {
      if (parent || link.parent == id.inode) return {};
      parent = link.parent;
      name = link.name;
      return {};
    });
    if (!named || !parent) break;
    way.emplace_back(id.inode, std::move(name));
    id.inode = *parent;
  }
  if (loop) {
    const auto start =
        std::find_if(way.begin(), way.end(), [&](const auto& step) { return step.first == noted; });
    const auto lowest = std::min_element(start, way.end());
    id.inode = lowest->first;
    // Up to the loop's lowest where the way meets it first.
    const auto first =
        std::find_if(way.begin(), way.end(), [&](const auto& step) { return step.first == id.inode; });
    way.erase(first, way.end());
  }
  std::string path = known ? *known : place_for_nameless(id);
  for (auto step = way.rbegin(); step != way.rend(); ++step) path = joined(std::move(path), step->second);
  return path;
}

OrphanScan::OrphanScan(const Tree& tree, Places& places, LossListener lost)
    : tree_(tree), places_(places), lost_(lost), items_(tree), look_(tree) {
  items_.set_readahead(true);
}

std::optional<Orphan> OrphanScan::next() {
  while (found_.empty()) {
    auto at = items_.seek(first_key_of(next_inode_));
    if (!at || !*at) return std::nullopt;
    const uint64_t inode = items_.key().objectid;
    if (inode > id::last_free) return std::nullopt;
    next_inode_ = inode + 1;
    examine(inode);
  }
  Orphan orphan = std::move(found_.front());
  found_.pop_front();
  return orphan;
}

FileType OrphanScan::guess_type(uint64_t inode) {
  auto at = look_.seek({inode, ItemType::dir_item, 0});
  if (!at || !*at || look_.key().objectid != inode) return FileType::unknown;
  switch (look_.key().type) {
    case ItemType::dir_item:
    case ItemType::dir_index: return FileType::directory;
    case ItemType::extent_data: return FileType::regular;
    default: return FileType::unknown;
  }
}

bool OrphanScan::has_entry(uint64_t parent, uint64_t index, uint64_t inode) {
  auto found = look_.find({parent, ItemType::dir_index, index});
  if (!found || !*found) return false;
  const Key location = look_.as<DirItem>()->location.key();
  return location.type == ItemType::inode_item && location.objectid == inode;
}

std::string OrphanScan::path_below(uint64_t parent, const std::string& name) {
  return joined(places_.of_directory(look_, {tree_.id, parent}), name);
}

void OrphanScan::give(uint64_t inode, const Name& name, const Attributes& attributes, bool attributes_lost) {
  const InodeId id{tree_.id, inode};
  const bool named = !name.name.empty();
  Orphan orphan{id, named ? path_below(name.parent, name.name) : place_for_nameless(id),
                named ? InodeId{tree_.id, name.parent} : id, attributes, attributes_lost};
  found_.push_back(std::move(orphan));
}

void OrphanScan::examine(uint64_t inode) {
  const InodeId id{tree_.id, inode};
  bool attributes_lost = false;
  const FileType type = guess_type(inode);
  auto attributes = attributes_or_rest(look_, inode, type, attributes_lost);
  std::vector<std::pair<Name, uint64_t>> links;  // with their indexes
  auto listed = for_each_link(look_, inode, [&](const Link& link) -> Result<void> {
    if (link.parent != inode) links.push_back({{link.parent, std::string(link.name)}, link.index});
    return {};
  });
  (void)listed;  // what comes before an error counts
  std::erase_if(links, [&](const auto& link) { return has_entry(link.first.parent, link.second, inode); });
  if (!attributes) {
    for (const auto& [name, index] : links)
      lost_({CopyLoss::Kind::entry, path_below(name.parent, name.name), 0, 0, attributes.error().clone()});
    return;
  }
  if (type == FileType::directory) examine_names(inode);
  // A file that was deleted while it was open.
  if (attributes->nlink == 0 && !attributes_lost) return;
  if (places_.find(id)) return;
  if (attributes->is_directory() && links.size() > 1) links.resize(1);
  for (const auto& [name, index] : links) give(inode, name, *attributes, attributes_lost);
  bool has_links = !links.empty();
  (void)for_each_link(look_, inode, [&](const Link&) -> Result<void> {
    has_links = true;
    return {};
  });
  if (has_links || inode == id::first_free) return;
  places_.set(id, place_for_nameless(id));
  give(inode, {}, *attributes, attributes_lost);
}

// Names that a directory has under their hashes, while the other entry is lost: of inodes whose own links are
// lost as well this is the last trace.
void OrphanScan::examine_names(uint64_t directory) {
  if (!look_.is_lost({directory, ItemType::dir_index, 0}, {directory, ItemType::dir_index, ~0ull})) return;
  Cursor names(tree_);
  auto at = names.seek({directory, ItemType::dir_item, 0});
  for (; at && *at && names.key().objectid == directory && names.key().type == ItemType::dir_item;
       at = names.next()) {
    Bytes rest = names.data();
    while (const auto* item = overlay<DirItem>(rest)) {
      auto name = slice(rest, sizeof(DirItem), item->name_len);
      const uint64_t size = sizeof(DirItem) + uint64_t{item->name_len} + item->data_len;
      if (!name || size > rest.size()) break;
      rest = rest.subspan(size);
      const Key location = item->location.key();
      if (location.type != ItemType::inode_item) continue;
      const InodeId id{tree_.id, location.objectid};
      if (places_.find(id) || !links_are_lost(look_, id.inode)) continue;
      bool linked = false, attributes_lost = false;
      (void)for_each_link(look_, id.inode, [&](const Link&) -> Result<void> {
        linked = true;
        return {};
      });
      if (linked) continue;
      const std::string text(as_text(*name));
      auto attributes =
          attributes_or_rest(look_, id.inode, FileType(item->type & ~file_type_encrypted), attributes_lost);
      const std::string path = path_below(directory, text);
      if (!attributes) {
        lost_({CopyLoss::Kind::entry, path, 0, 0, std::move(attributes).error()});
        continue;
      }
      places_.set(id, path);
      give(id.inode, {directory, text}, *attributes, attributes_lost);
    }
  }
}

}  // namespace karst::btrfs

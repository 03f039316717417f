#include "btrfs/file/path.h"

#include <deque>
#include <vector>

namespace karst::btrfs {
namespace {
constexpr int max_links_followed = 40;  // as the kernel

void push_components(std::deque<std::string>& components, std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    size_t slash = path.find('/');
    std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") parts.emplace_back(part);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
  }
  components.insert(components.begin(), parts.begin(), parts.end());
}
}  // namespace

Result<Attributes> attributes_of(const Filesystem& fs, InodeId id, InodeId parent) {
  Cursor cursor(TRY(fs.tree(id.subvolume)));
  if (id.is_empty_subvolume()) return empty_subvolume_attributes(cursor, parent.inode);
  return read_attributes(cursor, id.inode);
}

Result<std::string> read_symlink(Cursor& cursor, const Attributes& attributes) {
  // The kernel limits a target to one inline extent.
  if (attributes.size > 65536)
    return Error(karst::err::corrupt, "symbolic link is too long")
        .at("inode", attributes.inode)
        .at("size", attributes.size);
  if (!TRY(cursor.find({attributes.inode, ItemType::extent_data, 0})))
    return Error(karst::err::corrupt, "symbolic link has no target").at("inode", attributes.inode);
  const auto* head = cursor.as<FileExtentHead>();
  if (!head || FileExtentType(head->type) != FileExtentType::inline_data ||
      Compression(head->compression) != Compression::none)
    return Error(karst::err::corrupt, "symbolic link's target is not inline").at("inode", attributes.inode);
  std::string_view target = as_text(cursor.data().subspan(sizeof *head));
  target = target.substr(0, attributes.size);
  if (target.empty() || target.find('\0') != std::string_view::npos)
    return Error(karst::err::corrupt, "symbolic link's target is not a path").at("inode", attributes.inode);
  return std::string(target);
}

Result<Located> resolve(const Filesystem& fs, InodeId start, std::string_view path, LastSymlink last) {
  std::vector<InodeId> ancestors{start};  // from start to where we are
  Located here{start, start, TRY(attributes_of(fs, start, start))};
  std::deque<std::string> rest;
  push_components(rest, path);
  bool must_be_directory = path.ends_with('/');
  int links = 0;
  while (!rest.empty()) {
    std::string name = std::move(rest.front());
    rest.pop_front();
    if (!here.attributes.is_directory())
      return Error(karst::err::not_a_directory, fmt::format("'{}': not a directory", path))
          .at("before", name);
    if (name == "..") {
      if (ancestors.size() > 1) ancestors.pop_back();
      InodeId parent = ancestors.size() > 1 ? ancestors[ancestors.size() - 2] : start;
      here = {ancestors.back(), parent, TRY(attributes_of(fs, ancestors.back(), parent))};
      continue;
    }
    if (name.size() > max_name_length)
      return Error(karst::err::too_long, fmt::format("'{}': name too long", path));
    if (here.id.is_empty_subvolume())
      return Error(karst::err::not_found, fmt::format("'{}': no such file or directory", path));
    Tree tree = TRY(fs.tree(here.id.subvolume));
    Cursor cursor(tree);
    auto entry = TRY(look_up(fs, cursor, tree, here.id.inode, name));
    if (!entry)
      return Error(karst::err::not_found, fmt::format("'{}': no such file or directory", path))
          .at("component", name);
    InodeId id = entry->target;
    Attributes attributes = TRY(attributes_of(fs, id, here.id));
    if (attributes.is_symlink() && (!rest.empty() || last == LastSymlink::follow || must_be_directory)) {
      if (++links > max_links_followed)
        return Error(karst::err::loop, fmt::format("'{}': too many symbolic links", path));
      std::string target = TRY(read_symlink(cursor, attributes));
      if (target.starts_with('/')) {
        ancestors.resize(1);
        here = {start, start, TRY(attributes_of(fs, start, start))};
      }
      push_components(rest, target);
      continue;
    }
    here = {id, here.id, attributes};
    ancestors.push_back(id);
  }
  if (must_be_directory && !here.attributes.is_directory())
    return Error(karst::err::not_a_directory, fmt::format("'{}': not a directory", path));
  return here;
}

}  // namespace karst::btrfs

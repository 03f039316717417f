#include "btrfs/file/names.h"

#include <bit>
#include <optional>
#include <vector>

namespace karst::btrfs {
namespace {

// Each item of a type holds one or more heads, each followed by its name.
template <typename Head>
Result<void> visit_links(Cursor& cursor, uint64_t inode, ItemType type,
                         FunctionRef<Result<void>(const Link&)> visit) {
  TRY(cursor.seek({inode, type, 0}));
  while (cursor.valid() && cursor.key().objectid == inode && cursor.key().type == type) {
    Bytes rest = cursor.data();
    while (const auto* head = overlay<Head>(rest)) {
      auto name = slice(rest, sizeof(Head), head->name_len);
      if (!name) return Error(karst::err::corrupt, "name reaches outside its item").at("inode", inode);
      uint64_t parent = cursor.key().offset;
      if constexpr (std::is_same_v<Head, InodeExtref>) parent = head->parent_objectid;
      TRY(visit({parent, head->index, as_text(*name)}));
      rest = rest.subspan(sizeof(Head) + name->size());
    }
    TRY(cursor.next());
  }
  return {};
}

}  // namespace

Result<void> for_each_link(Cursor& cursor, uint64_t inode, FunctionRef<Result<void>(const Link&)> visit) {
  TRY(visit_links<InodeRef>(cursor, inode, ItemType::inode_ref, visit));
  return visit_links<InodeExtref>(cursor, inode, ItemType::inode_extref, visit);
}

Result<std::string> path_in_subvolume(Cursor& cursor, uint64_t inode) {
  std::vector<std::string> names;  // innermost first
  // A loop comes back to the inode noted last, which is one of the loop at some time (Brent).
  uint64_t noted = 0;
  for (size_t steps = 0; inode != id::first_free; ++steps) {
    if (inode == noted)
      return Error(karst::err::corrupt, "directories contain each other").at("inode", inode);
    if (std::has_single_bit(steps)) noted = inode;
    std::optional<uint64_t> parent;
    std::string name;
    auto first = [&](const Link& link) -> Result<void> {
      if (!parent) {
        parent = link.parent;
        name = link.name;
      }
      return {};
    };
    TRY(for_each_link(cursor, inode, first));
    if (!parent) return Error(karst::err::corrupt, "inode has no name").at("inode", inode);
    names.push_back(std::move(name));
    inode = *parent;
  }
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    if (!path.empty()) path += '/';
    path += *name;
  }
  return path;
}

}  // namespace karst::btrfs

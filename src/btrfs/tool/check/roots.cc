#include "btrfs/tool/check/roots.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "btrfs/format/inode.h"
#include "btrfs/format/inode_mode.h"
#include "btrfs/format/object_ids.h"
#include "btrfs/tool/check/inode_facts.h"
#include "btrfs/tool/check/item_stream.h"

namespace karst::btrfs::check {
namespace {

RootRecord record_of(const Key& key, Bytes item) {
  Root root = root_from_item(key, item);
  const RootItem& disk = root.item;
  RootRecord record;
  record.id = key.objectid;
  record.key_offset = key.offset;
  record.block = {Logical(disk.bytenr.value()), disk.generation, disk.level, key.objectid, {}};
  record.directory = disk.root_dirid;
  record.refs = disk.refs;
  record.flags = disk.flags;
  record.last_snapshot = disk.last_snapshot;
  record.uuid = disk.uuid;
  record.received_uuid = disk.received_uuid;
  if (disk.refs == 0 && disk.drop_progress.objectid != 0) {
    record.drop_progress = disk.drop_progress.key();
    record.drop_level = disk.drop_level;
  }
  return record;
}

RootRecord plain_root(uint64_t id, const BlockPointer& block) {
  RootRecord record;
  record.id = id;
  record.block = block;
  record.refs = 1;
  return record;
}

// Whether Linux finds a tree by this offset: of its own trees it wants the whole key, of subvolumes the
// newest item, which it looks for from the end. Source: Linux fs/btrfs/disk-io.c, btrfs_read_roots(),
// load_global_roots(); fs/btrfs/root-tree.c, btrfs_find_root().
bool is_found_at(uint64_t tree, uint64_t offset) {
  switch (tree) {
    case id::extent_tree:
    case id::dev_tree:
    case id::csum_tree:
    case id::quota_tree:
    case id::uuid_tree:
    case id::free_space_tree:
    case id::block_group_tree: return offset == 0;
    default: return offset != ~0ull;
  }
}

void check_root_item(State& state, const RootRecord& root) {
  uint64_t limit = state.fs.super().generation + 1;
  if (root.block.generation > limit)
    state.report.add(finding::root_item,
                     fmt::format("invalid generation for root {}, have {} expect (0, {}]", root.id,
                                 root.block.generation, limit),
                     {{"root", root.id}});
  if (root.holds_files() && root.directory != root_directory)
    state.report.add(finding::root_directory,
                     fmt::format("root {} root dir {} not found", root.id, root.directory),
                     {{"root", root.id}});
  if (!is_found_at(root.id, root.key_offset))
    state.report.add(finding::root_item,
                     fmt::format("root item of tree {} is not found at the offset {}", root_name(root.id),
                                 root.key_offset),
                     {{"root", root.id}});
  if (root.drop_progress && (root.drop_level > root.block.level || root.drop_level >= max_level))
    state.report.add(finding::root_item, fmt::format("ignoring invalid drop level: {}", root.drop_level),
                     {{"root", root.id}});
}

// Inodes of the root tree are files of the free space cache.
void check_cache_inode(State& state, uint64_t inode, const InodeItem& item) {
  constexpr uint32_t wanted = mode::regular | 0600;
  if (item.mode != wanted)
    state.report.add(finding::free_space_cache,
                     fmt::format("free space cache inode {} has invalid mode: has 0{:o} expect 0{:o}", inode,
                                 item.mode.value(), wanted),
                     {{"inode", inode}});
}

// How a subvolume is reached from one directory.
struct Place {
  uint64_t parent, directory, index;
  std::string name;
  auto operator<=>(const Place&) const = default;
};
struct Link {
  bool forward = false, back = false;  // ROOT_REF, ROOT_BACKREF
  bool item = false, entry = false;    // DIR_ITEM, DIR_INDEX
};
using Links = std::map<Place, Link>;

class RootRefCheck {
 public:
  explicit RootRefCheck(State& state) : state_(state) {}

  Result<void> run() {
    TRY(read());
    for (auto& [child, links] : links_)
      for (auto& [place, link] : links) look_up(child, place, link);
    find_reachable();
    for (const RootRecord& root : state_.roots) check_root(root);
    for (const auto& [child, links] : links_)
      if (!state_.root(child)) check_absent(child, links);
    return {};
  }

 private:
  Result<void> read() {
    constexpr size_t bytes_each =
        sizeof(Links) + sizeof(Place) + sizeof(Link) + 3 * 48;  // nodes of three maps
    ItemStream items(state_.blocks(), state_.fs.root_tree().root);
    while (items.next()) {
      const Key& key = items.key();
      if (key.type == ItemType::orphan_item && key.objectid == id::orphan) {
        TRY(state_.allowance.take(bytes_each, "deleted subvolumes"));
        orphans_.insert(key.offset);
      }
      if (key.type != ItemType::root_ref && key.type != ItemType::root_backref) continue;
      const auto* ref = items.as<RootRef>();
      auto name = ref ? slice(items.data(), sizeof(RootRef), ref->name_len) : std::nullopt;
      if (!name) continue;
      TRY(state_.allowance.take(bytes_each + name->size(), "links of subvolumes"));
      bool forward = key.type == ItemType::root_ref;
      Link& link = links_[forward ? key.offset : key.objectid][{
          forward ? key.objectid : key.offset, ref->dirid, ref->sequence, std::string(as_text(*name))}];
      (forward ? link.forward : link.back) = true;
    }
    return {};
  }

  // The entries that belong to a link.
  void look_up(uint64_t child, const Place& place, Link& link) {
    const RootRecord* parent = state_.root(place.parent);
    if (!parent) return;
    BlockCursor cursor(state_.blocks(), parent->block);
    auto matches = [&](const Key& key) {
      auto found = cursor.seek(key);
      if (!found || !*found || cursor.key() != key) return false;
      for (Bytes data = cursor.data(); const auto* entry = overlay<DirItem>(data);) {
        uint64_t length = sizeof(DirItem) + entry->name_len + entry->data_len;
        if (length > data.size()) return false;
        bool same = as_text(data.subspan(sizeof(DirItem), entry->name_len)) == place.name &&
                    entry->location.type == static_cast<uint8_t>(ItemType::root_item) &&
                    entry->location.objectid == child;
        if (same) return true;
        data = data.subspan(length);
      }
      return false;
    };
    link.item = matches({place.directory, ItemType::dir_item, name_hash(place.name)});
    link.entry = matches({place.directory, ItemType::dir_index, place.index});
  }

  // Subvolumes that a chain of links connects with the top level.
  void find_reachable() {
    std::map<uint64_t, std::vector<uint64_t>> children;
    for (const auto& [child, links] : links_)
      for (const auto& [place, link] : links)
        if (link.forward && link.item) children[place.parent].push_back(child);
    std::vector<uint64_t> waiting{id::fs_tree};
    reachable_.insert(id::fs_tree);
    while (!waiting.empty()) {
      uint64_t parent = waiting.back();
      waiting.pop_back();
      for (uint64_t child : children[parent])
        if (reachable_.insert(child).second) waiting.push_back(child);
    }
  }

  uint32_t references(uint64_t child) const {
    auto links = links_.find(child);
    if (links == links_.end()) return 0;
    return static_cast<uint32_t>(
        std::count_if(links->second.begin(), links->second.end(), [&](const auto& entry) {
          const auto& [place, link] = entry;
          return link.forward && link.item && reachable_.contains(place.parent);
        }));
  }

  void check_root(const RootRecord& root) {
    if (root.id < id::first_free || !is_subvolume(root.id)) return;
    uint32_t found = references(root.id);
    if (found != root.refs) {
      state_.report.add(finding::root_refs,
                        fmt::format("fs tree {} refs mismatch found {} expect {}{}", root.id, found,
                                    root.refs, unresolved(root.id)),
                        {{"root", root.id}});
      return;
    }
    if (root.refs == 0 && !orphans_.contains(root.id)) {
      state_.report.add(finding::root_orphan, fmt::format("fs tree {} missing orphan item", root.id),
                        {{"root", root.id}});
      return;
    }
    std::string bad = unresolved(root.id);
    if (!bad.empty())
      state_.report.add(finding::root_refs, fmt::format("fs tree {} refs {} {}", root.id, found, bad),
                        {{"root", root.id}});
  }

  // A subvolume that has links but no root item.
  void check_absent(uint64_t child, const Links& links) {
    if (!is_subvolume(child) || references(child) == 0) return;
    std::string text = fmt::format("fs tree {} refs {} not found", child, references(child));
    for (const auto& [place, link] : links) text += link_text(place, link);
    state_.report.add(finding::root_refs, std::move(text), {{"root", child}});
  }

  std::string unresolved(uint64_t child) const {
    std::string text;
    auto links = links_.find(child);
    if (links == links_.end()) return text;
    for (const auto& [place, link] : links->second)
      if (!(link.forward && link.back && link.item && link.entry)) text += link_text(place, link);
    return text;
  }

  // Bits and words as the stock tool has them.
  static std::string link_text(const Place& place, const Link& link) {
    unsigned errors = 0;
    std::string words;
    auto missing = [&](bool there, unsigned bit, const char* word) {
      if (there) return;
      errors |= bit;
      words += fmt::format(", no {}", word);
    };
    missing(link.item, 1u << 0, "dir item");
    missing(link.entry, 1u << 1, "dir index");
    missing(link.forward, 1u << 9, "root ref");
    missing(link.back, 1u << 10, "root backref");
    return fmt::format("\n\tunresolved ref root {} dir {} index {} namelen {} name {} errors {:x}{}",
                       place.parent, place.directory, place.index, place.name.size(), place.name, errors,
                       words);
  }

  State& state_;
  std::map<uint64_t, Links> links_;  // by child
  std::set<uint64_t> orphans_, reachable_;
};

// The UUID tree is made anew by the kernel when it is wrong, so what is wrong here is a warning.
void check_uuid_tree(State& state) {
  const RootRecord* tree = state.root(id::uuid_tree);
  if (!tree || state.fs.super().uuid_tree_generation != state.fs.super().generation) return;
  std::map<Uuid, uint64_t> subvolumes, received;
  for (const RootRecord& root : state.roots) {
    if (!is_subvolume(root.id) || root.refs == 0) continue;
    if (!root.uuid.is_null()) subvolumes.emplace(root.uuid, root.id);
    if (!root.received_uuid.is_null()) received.emplace(root.received_uuid, root.id);
  }
  std::set<uint64_t> listed;
  ItemStream items(state.blocks(), tree->block);
  while (items.next()) {
    const Key& key = items.key();
    bool is_received = key.type == ItemType::uuid_received_subvol;
    if (!is_received && key.type != ItemType::uuid_subvol) continue;
    Uuid uuid;
    le64 halves[2] = {key.objectid, key.offset};
    std::memcpy(static_cast<void*>(&uuid), halves, sizeof uuid);
    for (uint64_t at = 0; const auto* subvolume = overlay<le64>(items.data(), at); at += sizeof(le64)) {
      const RootRecord* root = state.root(*subvolume);
      if (root && (is_received ? root->received_uuid : root->uuid) == uuid) {
        if (!is_received) listed.insert(root->id);
        continue;
      }
      state.report.add(
          finding::uuid_tree,
          fmt::format("uuid tree has {} for subvolume {}, which does not have it", uuid, subvolume->value()),
          {{"root", *subvolume}});
    }
  }
  if (items.incomplete()) return;
  for (const auto& [uuid, subvolume] : subvolumes)
    if (!listed.contains(subvolume))
      state.report.add(finding::uuid_tree, fmt::format("uuid tree lacks subvolume {}", subvolume),
                       {{"root", subvolume}});
}

}  // namespace

Result<void> read_roots(State& state) {
  TRY(state.add_root(plain_root(id::root_tree, state.fs.root_tree().root)));
  TRY(state.add_root(plain_root(id::chunk_tree, state.fs.chunk_tree().root)));
  ItemStream items(state.blocks(), state.fs.root_tree().root);
  while (items.next()) {
    if (items.key().type == ItemType::inode_item && is_fs_tree(items.key().objectid))
      check_cache_inode(state, items.key().objectid, *items.as<InodeItem>());
    if (items.key().type != ItemType::root_item) continue;
    RootRecord root = record_of(items.key(), items.data());
    check_root_item(state, root);
    TRY(state.add_root(std::move(root)));
  }
  std::vector<uint64_t> all_needed{id::extent_tree, id::dev_tree, id::fs_tree, id::csum_tree};
  const uint64_t features = state.geometry().compat_ro;
  if (features & compat_ro::free_space_tree) all_needed.push_back(id::free_space_tree);
  if (features & compat_ro::block_group_tree) all_needed.push_back(id::block_group_tree);
  for (uint64_t needed : all_needed)
    if (!state.root(needed))
      state.report.add(finding::missing_tree, fmt::format("no root item of tree {}", root_name(needed)),
                       {{"tree", needed}});
  return {};
}

Result<void> check_root_refs(State& state) {
  TRY(RootRefCheck(state).run());
  check_uuid_tree(state);
  return {};
}

}  // namespace karst::btrfs::check

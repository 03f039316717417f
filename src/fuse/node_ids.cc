#include "fuse/node_ids.h"

namespace karst::fuse {
namespace {

constexpr unsigned inode_bits = 40;
constexpr uint64_t inode_mask = (1ull << inode_bits) - 1;
constexpr uint64_t table_mark = 0xffffff;  // where a subvolume's id would be

}  // namespace

std::optional<NodeId> NodeIds::computed(btrfs::InodeId id) const {
  if (id == root_) return root_node;
  // Real inodes count from 256. A damaged one below would be taken for the root.
  if (id.inode < btrfs::id::first_free || id.inode > inode_mask) return std::nullopt;
  if (id.subvolume == root_.subvolume) return NodeId{id.inode};
  if (id.subvolume >= table_mark) return std::nullopt;
  return NodeId{id.subvolume << inode_bits | id.inode};
}

NodeId NodeIds::acquire(btrfs::InodeId id, uint64_t parent, std::string_view name) {
  if (auto node = computed(id)) return *node;
  Key key{id.subvolume, id.inode, 0, {}};
  if (id.is_empty_subvolume()) key = {id.subvolume, id.inode, parent, std::string(name)};
  return table_.with([&](Table& table) {
    auto [place, is_new] = table.serials.try_emplace(key, table.next_serial);
    if (is_new) {
      table.entries.emplace(table.next_serial, Entry{std::move(key), 0});
      // Serials do not come round: a million look-ups a second would take twelve days.
      ++table.next_serial;
    }
    ++table.entries.at(place->second).lookups;
    return NodeId{table_mark << inode_bits | place->second};
  });
}

void NodeIds::forget(NodeId node, uint64_t lookups) {
  if (raw(node) >> inode_bits != table_mark) return;
  table_.with([&](Table& table) {
    auto found = table.entries.find(raw(node) & inode_mask);
    if (found == table.entries.end()) return;
    Entry& entry = found->second;
    entry.lookups -= std::min(entry.lookups, lookups);
    if (entry.lookups > 0) return;
    table.serials.erase(entry.key);
    table.entries.erase(found);
  });
}

std::optional<Node> NodeIds::find(NodeId node) const {
  const uint64_t subvolume = raw(node) >> inode_bits, low = raw(node) & inode_mask;
  if (node == root_node) return Node{root_};
  if (subvolume == 0)
    return low < btrfs::id::first_free ? std::nullopt : std::optional(Node{{root_.subvolume, low}});
  if (subvolume != table_mark)
    return low < btrfs::id::first_free ? std::nullopt : std::optional(Node{{subvolume, low}});
  return table_.with([&](const Table& table) -> std::optional<Node> {
    auto found = table.entries.find(low);
    if (found == table.entries.end()) return std::nullopt;
    const auto& [tree, inode, parent, name] = found->second.key;
    return Node{{tree, inode}, parent};
  });
}

size_t NodeIds::table_size() const {
  return table_.with([](const Table& table) { return table.entries.size(); });
}

}  // namespace karst::fuse

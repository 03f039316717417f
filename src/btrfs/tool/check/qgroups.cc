#include "btrfs/tool/check/qgroups.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "btrfs/format/backref.h"
#include "btrfs/format/inode.h"
#include "btrfs/format/object_ids.h"
#include "btrfs/format/quota.h"
#include "btrfs/tool/check/item_stream.h"
#include "btrfs/tool/check/root_sets.h"

namespace karst::btrfs::check {
namespace {

std::string group_name(uint64_t id) { return fmt::format("{}/{}", qgroup_level(id), qgroup_subvolid(id)); }

// The quota tree.
struct QuotaItems {
  uint64_t flags = 0, enable_generation = 0;
  std::map<uint64_t, QgroupCounts> groups;
  std::map<uint64_t, std::set<uint64_t>> parents;
  std::vector<uint64_t> misplaced;  // groups that have numbers under another object
  bool incomplete = false;
};

QuotaItems read_quota_tree(State& state, const RootRecord& tree) {
  QuotaItems quota;
  ItemStream items(state.blocks(), tree.block);
  while (items.next()) {
    const Key& key = items.key();
    if (key.type == ItemType::qgroup_status) {
      const auto* status = overlay<QgroupStatusItem>(items.data());
      const auto* flags = overlay<le64>(items.data(), offsetof(QgroupStatusItem, flags));
      if (flags) quota.flags = *flags;
      if (status) quota.enable_generation = status->enable_gen;
    } else if (key.type == ItemType::qgroup_info) {
      const auto& info = *items.as<QgroupInfoItem>();
      if (key.objectid != 0) quota.misplaced.push_back(key.offset);
      quota.groups[key.offset] = {key.offset, 0, 0, info.rfer, info.excl};
    } else if (key.type == ItemType::qgroup_relation &&
               qgroup_level(key.objectid) < qgroup_level(key.offset)) {
      quota.parents[key.objectid].insert(key.offset);
    }
  }
  quota.incomplete = items.incomplete();
  return quota;
}

// That groups are in groups that are there, and have one set of numbers.
void check_relations(State& state, const QuotaItems& quota) {
  for (uint64_t group : quota.misplaced)
    state.report.add(finding::qgroup,
                     fmt::format("qgroup info of {} under another object", group_name(group)),
                     {{"qgroup", group}});
  if (quota.incomplete) return;
  for (const auto& [member, parents] : quota.parents)
    for (uint64_t parent : parents)
      if (!quota.groups.contains(member) || !quota.groups.contains(parent))
        state.report.add(finding::qgroup,
                         fmt::format("qgroup relation without its group, member={} parent={}",
                                     group_name(member), group_name(parent)),
                         {{"qgroup", member}});
}

class Accounting {
 public:
  Accounting(State& state, QuotaItems& quota) : state_(state), quota_(quota) {}

  void simple() {
    const RootRecord* tree = state_.root(id::extent_tree);
    if (!tree) return;
    ItemStream items(state_.blocks(), tree->block);
    while (items.next()) {
      const Key& key = items.key();
      if (key.type != ItemType::extent_item && key.type != ItemType::metadata_item) continue;
      const auto& extent = *items.as<ExtentItem>();
      if (extent.generation < quota_.enable_generation) continue;
      if (auto owner = owner_of(key, extent, items.data()); owner && is_subvolume(*owner))
        add(sets_.of(*owner), key.type == ItemType::metadata_item ? state_.geometry().nodesize : key.offset);
    }
    finish();
  }

  void shared() {
    collect_blocks();
    for (uint8_t level = max_level; level-- > 0;) descend(level);
    for (RootSets::Id set : sets_of_) add(set, state_.geometry().nodesize);
    data();
    finish();
  }

 private:
  // The subvolume that an extent was allocated for.
  std::optional<uint64_t> owner_of(const Key& key, const ExtentItem& extent, Bytes item) const {
    if (key.type == ItemType::metadata_item || (extent.flags & extent_flag::tree_block))
      return state_.table.find(key.objectid).owner;
    auto first = read_inline_ref(item.subspan(sizeof(ExtentItem)));
    if (first && first->type == ItemType::extent_owner_ref) return first->root;
    return std::nullopt;
  }

  // All blocks of subvolumes, ascending, with the sets of those that are roots.
  void collect_blocks() {
    for (uint8_t level = 0; level < max_level; ++level)
      for (uint64_t bytenr : state_.table.file_nodes(level)) blocks_.push_back(bytenr);
    std::sort(blocks_.begin(), blocks_.end());
    sets_of_.assign(blocks_.size(), RootSets::none);
    for (const RootRecord& root : state_.roots)
      if (is_subvolume(root.id)) reach(raw(root.block.address), sets_.of(root.id));
  }

  std::optional<size_t> index_of(uint64_t bytenr) const {
    auto found = std::lower_bound(blocks_.begin(), blocks_.end(), bytenr);
    if (found == blocks_.end() || *found != bytenr) return std::nullopt;
    return static_cast<size_t>(found - blocks_.begin());
  }
  void reach(uint64_t bytenr, RootSets::Id set) {
    if (auto index = index_of(bytenr)) sets_of_[*index] = sets_.joined(sets_of_[*index], set);
  }

  BlockRef read(uint64_t bytenr, uint8_t level) const {
    state_.progress.add(state_.geometry().nodesize, 1);
    auto block = state_.blocks().read(
        {Logical(bytenr), state_.table.find(bytenr).generation, level, id::tree_reloc, {}});
    return block ? std::move(*block) : BlockRef();
  }

  // Gives the sets of a level's nodes to their children.
  void descend(uint8_t level) {
    if (level == 0) return;
    for (uint64_t bytenr : state_.table.file_nodes(level)) {
      RootSets::Id set = sets_of_[*index_of(bytenr)];
      BlockRef node = read(bytenr, level);
      if (!node || set == RootSets::none) continue;
      const RootRecord* only = sole_root(set);
      for (uint32_t slot = only ? only->first_kept_slot(*node) : 0; slot < node->nritems(); ++slot)
        reach(node->key_ptr(slot).blockptr, set);
    }
  }
  const RootRecord* sole_root(RootSets::Id set) const {
    const auto& members = sets_.members(set);
    return members.size() == 1 ? state_.root(members[0]) : nullptr;
  }

  // Data extents belong to all who reach a leaf that refers to them; so many extents at a time as memory
  // allows.
  void data() {
    constexpr size_t bytes_each = 64;
    const std::vector<uint64_t> leaves = state_.table.file_nodes(0);
    for (uint64_t parts = 1;;) {
      bool fits = true;
      for (uint64_t part = 0; part < parts && fits; ++part)
        fits = data_part(leaves, part, parts, state_.memory / bytes_each);
      if (fits) return;
      data_bytes_.clear();
      parts *= 4;
    }
  }

  bool data_part(const std::vector<uint64_t>& leaves, uint64_t part, uint64_t parts, size_t most) {
    struct Extent {
      RootSets::Id set;
      uint64_t length;
    };
    std::unordered_map<uint64_t, Extent> extents;
    for (uint64_t bytenr : leaves) {
      RootSets::Id set = sets_of_[*index_of(bytenr)];
      if (set == RootSets::none) continue;
      BlockRef leaf = read(bytenr, 0);
      for (uint32_t slot = 0; leaf && slot < leaf->nritems(); ++slot) {
        if (leaf->item(slot).key.type != static_cast<uint8_t>(ItemType::extent_data)) continue;
        const auto* extent = overlay<FileExtent>(leaf->item_data(slot));
        if (!extent || extent->head.type == static_cast<uint8_t>(FileExtentType::inline_data) ||
            extent->disk_bytenr == 0)
          continue;
        uint64_t start = extent->disk_bytenr;
        if (state_.key.hash_subject(start) % parts != part) continue;
        Extent& known =
            extents.try_emplace(start, Extent{RootSets::none, extent->disk_num_bytes}).first->second;
        known.set = sets_.joined(known.set, set);
      }
      if (extents.size() > most) return false;
    }
    for (const auto& [start, extent] : extents) data_bytes_[extent.set] += extent.length;
    return true;
  }

  void add(RootSets::Id set, uint64_t bytes) { bytes_[set] += bytes; }

  // Every group that a member of the set is in counts its bytes once; as exclusive if all members are in it.
  void finish() {
    for (const auto& [set, bytes] : data_bytes_) bytes_[set] += bytes;
    for (const auto& [set, bytes] : bytes_) {
      std::map<uint64_t, size_t> reached;
      for (uint64_t root : sets_.members(set))
        for (uint64_t group : groups_of(root)) ++reached[group];
      for (const auto& [group, members] : reached) {
        auto counts = quota_.groups.find(group);
        if (counts == quota_.groups.end()) continue;
        counts->second.rfer += bytes;
        if (members == sets_.members(set).size()) counts->second.excl += bytes;
      }
    }
  }

  std::set<uint64_t> groups_of(uint64_t root) const {
    std::set<uint64_t> all;
    if (!quota_.groups.contains(root)) return all;
    std::vector<uint64_t> waiting{root};
    while (!waiting.empty()) {
      uint64_t group = waiting.back();
      waiting.pop_back();
      if (!all.insert(group).second) continue;
      auto parents = quota_.parents.find(group);
      if (parents != quota_.parents.end())
        waiting.insert(waiting.end(), parents->second.begin(), parents->second.end());
    }
    return all;
  }

  State& state_;
  QuotaItems& quota_;
  RootSets sets_;
  std::vector<uint64_t> blocks_;
  std::vector<RootSets::Id> sets_of_;  // of each block
  std::unordered_map<RootSets::Id, uint64_t> bytes_, data_bytes_;
};

}  // namespace

bool quotas_enabled(State& state) {
  const RootRecord* tree = state.root(id::quota_tree);
  return tree && (read_quota_tree(state, *tree).flags & qgroup_flag::on);
}

std::string qgroup_text(const QgroupCounts& counts) {
  std::string text = fmt::format("Counts for qgroup id: {} {}", group_name(counts.id),
                                 counts.differs() ? "are different" : "");
  auto line = [&](const char* who, const char* what, auto value) {
    text += fmt::format("\n{}\t\t{} {} {} compressed {}", who, what, value, what, value);
  };
  auto three = [&](const char* what, uint64_t ours, uint64_t disk) {
    line("our:", what, ours);
    line("disk:", what, disk);
    if (ours != disk) line("diff:", what, static_cast<int64_t>(ours - disk));
  };
  three("referenced", counts.rfer, counts.recorded_rfer);
  three("exclusive", counts.excl, counts.recorded_excl);
  return text;
}

Result<QgroupReport> check_qgroups(State& state) {
  const RootRecord* tree = state.root(id::quota_tree);
  QgroupReport report;
  if (!tree) return report;
  QuotaItems quota = read_quota_tree(state, *tree);
  report.enabled = (quota.flags & qgroup_flag::on) != 0;
  bool simple = state.geometry().has(incompat::simple_quota);
  report.rescanning = !simple && (quota.flags & qgroup_flag::rescan);
  report.inconsistent = !simple && (quota.flags & qgroup_flag::inconsistent);
  check_relations(state, quota);
  Accounting accounting(state, quota);
  if (simple)
    accounting.simple();
  else
    accounting.shared();
  for (const auto& [id, counts] : quota.groups) {
    // Groups of subvolumes that are gone keep their last numbers, but with simple quotas what extents still
    // say.
    bool is_counted = simple || qgroup_level(id) > 0 || state.root(id);
    if (counts.differs() && is_counted && !report.rescanning)
      state.report.add(report.inconsistent ? finding::qgroup_stale : finding::qgroup, qgroup_text(counts),
                       {{"qgroup", id}});
    report.groups.push_back(counts);
  }
  return report;
}

}  // namespace karst::btrfs::check

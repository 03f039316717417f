#include "btrfs/tool/check/inode_exact.h"

#include <algorithm>
#include <map>

#include "btrfs/tool/check/dirty_rounds.h"
#include "btrfs/tool/check/inode_record.h"
#include "btrfs/tool/check/item_stream.h"

namespace karst::btrfs::check {
namespace {

class BucketSink final : public FactSink {
 public:
  explicit BucketSink(const SketchKey& key) : key_(key) {}
  void add(const Fact& fact, Times times) override { sketch.add(key_, fact, times); }
  BucketSketch sketch;

 private:
  const SketchKey& key_;
};

// The exact check of one subvolume.
class FileTreeCheck {
 public:
  FileTreeCheck(State& state, const RootRecord& root, size_t memory)
      : state_(state), root_(root), memory_(memory), rules_(file_rules(state.key, state.geometry())) {}

  void run() {
    BucketSketch::Dirty dirty = find_dirty();
    DirtyRounds rounds(dirty.flags);
    while (rounds.next(chosen_)) {
      records_.clear();
      taken_ = 0;
      collect();
      if (taken_ > memory_) {
        rounds.shrink();
        continue;
      }
      bool is_root_chosen = chosen_[BucketSketch::bucket_of(state_.key, root_directory)];
      for (auto& [inode, record] : records_) report(inode, record);
      auto top = records_.find(root_directory);
      if (is_root_chosen && (top == records_.end() || !top->second.has_item()))
        state_.report.add(finding::root_directory,
                          fmt::format("root {} root dir {} not found", root_.id, root_directory),
                          {{"root", root_.id}});
    }
    if (rounds.unexplained() > 0)
      state_.report.add(finding::inode,
                        fmt::format("root {} has more inodes with errors, which are not listed", root_.id),
                        {{"root", root_.id}});
  }

 private:
  // The inodes whose facts do not agree, by bucket.
  BucketSketch::Dirty find_dirty() {
    BucketSink sink(state_.key);
    InodeContext context;
    ItemStream items(state_.blocks(), root_.block, Key::min(), Key::max(), [&](const TreeBlock& leaf) {
      state_.progress.add(leaf.nodesize(), 1);
      add_file_facts(leaf, rules_, context, sink);
    });
    while (items.next()) {
    }
    for (uint64_t part : {1, 2}) sink.add({FactKind::root_directory, root_directory, {part}}, minus(1));
    return sink.sketch.dirty();
  }

  bool wanted(uint64_t inode) const { return chosen_[BucketSketch::bucket_of(state_.key, inode)]; }
  InodeRecord& record(uint64_t inode) {
    auto [place, is_new] = records_.try_emplace(inode, inode);
    if (is_new) taken_ += sizeof(InodeRecord) + 64;
    return place->second;
  }

  void collect() {
    ItemStream items(state_.blocks(), root_.block);
    // Entries of a directory that is deleted do not count.
    uint64_t deleted = 0;
    while (items.next() && taken_ <= memory_) {
      const Key& key = items.key();
      if (key.objectid == id::free_space) continue;
      if (key.type == ItemType::inode_item && items.as<InodeItem>()->nlink == 0) deleted = key.objectid;
      if (key.type == ItemType::orphan_item) {
        if (key.objectid == id::orphan && wanted(key.offset)) orphan(key.offset);
      } else {
        bool is_directory_item = key.type == ItemType::dir_item || key.type == ItemType::dir_index;
        if (is_directory_item && deleted == key.objectid) {
          if (wanted(key.objectid)) record(key.objectid).add_directory_names(0);
          continue;
        }
        if (is_directory_item) names(key, items.data());
        if (wanted(key.objectid)) own_item(key, items.data());
      }
    }
  }

  void orphan(uint64_t inode) {
    // Orphan items come after all inodes; those whose inode is gone mean nothing.
    auto found = records_.find(inode);
    if (found != records_.end()) found->second.add_orphan();
  }

  void own_item(const Key& key, Bytes data) {
    InodeRecord& inode = record(key.objectid);
    switch (key.type) {
      case ItemType::inode_item: inode.add_item(*overlay<InodeItem>(data)); break;
      case ItemType::inode_ref:
      case ItemType::inode_extref:
        for_each_reference(key, data, [&](const NameReference& ref) {
          inode.add_reference(ref);
          taken_ += InodeRecord::bytes_of_name(ref.name);
        });
        break;
      case ItemType::dir_item:
      case ItemType::dir_index:
        for_each_entry(data, [&](const EntryView& entry) { inode.add_directory_names(entry.name.size()); });
        if (key.type == ItemType::dir_item && has_twin_names(data)) inode.add_twin_names();
        break;
      case ItemType::extent_data: inode.add_extent(key.offset, data, rules_); break;
      default: break;
    }
  }

  // Entries, as their targets see them.
  void names(const Key& key, Bytes data) {
    for_each_entry(data, [&](const EntryView& entry) {
      Key location = entry.item.location.key();
      if (location.type == ItemType::root_item || !wanted(location.objectid)) return;
      InodeRecord& target = record(location.objectid);
      taken_ += InodeRecord::bytes_of_name(entry.name);
      if (key.type == ItemType::dir_item)
        target.add_name_item(key.objectid, entry.name, entry.type());
      else
        target.add_name_entry(key.objectid, key.offset, entry.name, entry.type());
    });
  }

  void report(uint64_t inode, InodeRecord& record) {
    std::string text = record.verdict(root_.id, rules_);
    if (!text.empty())
      state_.report.add(finding::inode, std::move(text), {{"root", root_.id}, {"inode", inode}});
  }

  State& state_;
  const RootRecord& root_;
  const size_t memory_;
  const FileRules rules_;
  std::vector<bool> chosen_;
  std::map<uint64_t, InodeRecord> records_;
  size_t taken_ = 0;  // bytes of records, about
};

}  // namespace

Result<void> check_file_trees(State& state) {
  constexpr uint64_t enough = 1000;  // findings; more are not listed anyway
  const Sum expected = expected_root_sum(state.key);
  const uint64_t before = state.report.problems();
  TaskGroup group(state.pool);
  size_t memory = state.memory / std::max(1u, state.pool.thread_count());
  for (const RootRecord& root : state.roots) {
    if (!root.holds_files() || root.refs == 0) continue;
    BlockFacts facts = state.table.find(raw(root.block.address));
    if (!facts.good) {
      state.report.add(finding::file_tree, fmt::format("root {} cannot be read", root.id),
                       {{"root", root.id}});
      continue;
    }
    if (facts.complete && facts.sum == expected) continue;
    group.run([&state, &root, memory, before]() -> Result<void> {
      if (state.report.problems() - before > enough)
        state.report.add(finding::inode, fmt::format("root {} has errors, which are not listed", root.id),
                         {{"root", root.id}});
      else
        FileTreeCheck(state, root, memory).run();
      return {};
    });
  }
  return group.wait();
}

}  // namespace karst::btrfs::check

#include "btrfs/tool/check/scan.h"

#include <algorithm>

#include "btrfs/format/object_ids.h"
#include "btrfs/tool/check/csum_ranges.h"
#include "btrfs/tool/check/extent_facts.h"
#include "btrfs/tree/tree.h"

namespace karst::btrfs::check {
namespace {

constexpr size_t batch_blocks = 32;

struct Child {
  uint64_t bytenr;
  uint64_t generation;
  std::optional<Key> first_key;
  Key end;        // its keys are less
  uint32_t slot;  // in its parent: neighbours follow each other in the tree
};

// Blocks of one tree and level that are read together.
struct Batch {
  const RootRecord* root;
  uint8_t level;
  std::vector<Child> children;
};

// The blocks that are known and not yet read.
class Frontier {
 public:
  void push(Batch batch) {
    MutexLock lock(mutex_);
    batches_.push_back(std::move(batch));
    changed_.notify_one();
  }
  // Nothing when all is done, or the scan has failed.
  std::optional<Batch> take() {
    MutexLock lock(mutex_);
    while (batches_.empty() && working_ > 0 && !failed_) changed_.wait(mutex_);
    if (batches_.empty() || failed_) {
      changed_.notify_all();
      return std::nullopt;
    }
    ++working_;
    Batch batch = std::move(batches_.back());
    batches_.pop_back();
    return batch;
  }
  void done() {
    MutexLock lock(mutex_);
    if (--working_ == 0) changed_.notify_all();
  }
  void fail() {
    MutexLock lock(mutex_);
    failed_ = true;
    changed_.notify_all();
  }

 private:
  static constexpr LockClass lock_class{"check.frontier"};
  Mutex mutex_{lock_class};
  CondVar changed_;
  std::vector<Batch> batches_ GUARDED_BY(mutex_);
  size_t working_ GUARDED_BY(mutex_) = 0;
  bool failed_ GUARDED_BY(mutex_) = false;
};

class SumSink final : public FactSink {
 public:
  explicit SumSink(const SketchKey& key) : key_(key) {}
  void add(const Fact& fact, Times times) override { sum.add(key_.hash(fact), times); }
  Sum sum;

 private:
  const SketchKey& key_;
};

std::string bad_block_text(uint64_t bytenr, const Error& error) {
  if (error.is(err::block_checksum))
    return fmt::format("checksum verify failed on {} wanted {} found {}", bytenr, error.found_text(),
                       error.expected_text());
  if (error.is(err::block_generation))
    return fmt::format("parent transid verify failed on {} wanted {} found {}", bytenr, error.expected_text(),
                       error.found_text());
  return fmt::format("bad block {}: {}", bytenr, error.message());
}

// One thread of the scan.
class Worker {
 public:
  Worker(State& state, const ScanOptions& options, Frontier& frontier)
      : state_(state),
        options_(options),
        frontier_(frontier),
        sink_(options.make_sink()),
        rules_(file_rules(state.key, state.geometry())),
        queue_(block::make_queue()) {}

  void run() {
    while (auto batch = frontier_.take()) {
      process(*batch);
      frontier_.done();
    }
  }

 private:
  void process(const Batch& batch) {
    read(batch);
    InodeContext context;
    std::optional<uint32_t> last;  // slot of the child that the context is of
    for (size_t i = 0; i < batch.children.size(); ++i) {
      const Child& child = batch.children[i];
      auto block = verified(batch, child, i);
      if (!block) {
        last.reset();
        continue;
      }
      if (!last || *last + 1 != child.slot) context = {};
      last = child.slot;
      visit(batch, *block, child.end, context);
    }
  }

  // Reads the first copy of all blocks, those side by side as one.
  void read(const Batch& batch) {
    const Volume& volume = state_.fs.volume();
    size_t nodesize = state_.geometry().nodesize;
    buffer_.resize(batch.children.size() * nodesize);
    requests_.clear();
    request_of_.clear();
    uint64_t end = 0;
    int copy = 0;
    for (size_t i = 0; i < batch.children.size(); ++i) {
      uint64_t bytenr = batch.children[i].bytenr;
      auto chunk = volume.chunks().find(bytenr);
      int first = chunk ? volume.first_copy(**chunk, bytenr) : 0;
      MutableBytes place = MutableBytes(buffer_).subspan(i * nodesize, nodesize);
      if (i > 0 && bytenr == end && first == copy) {
        auto& request = requests_.back();
        request.destination = {request.destination.data(), request.destination.size() + nodesize};
      } else {
        requests_.push_back({Logical(bytenr), place, first, {}});
      }
      request_of_.push_back(requests_.size() - 1);
      end = bytenr + nodesize;
      copy = first;
    }
    volume.read_batch(*queue_, requests_);
  }

  // The i-th block of the batch if one of its copies is good.
  std::optional<TreeBlock> verified(const Batch& batch, const Child& child, size_t i) {
    const Geometry& geometry = state_.geometry();
    MutableBytes bytes = MutableBytes(buffer_).subspan(i * geometry.nodesize, geometry.nodesize);
    BlockExpectation expectation{Logical(child.bytenr), child.generation, batch.level, batch.root->id,
                                 child.first_key};
    if (child.bytenr % geometry.sectorsize != 0) {
      bad(batch, child, Error(err::block_bytenr, "tree block address is not a multiple of the sector size"));
      return std::nullopt;
    }
    Volume::ReadRequest& request = requests_[request_of_[i]];
    bool alone = request.destination.size() == geometry.nodesize;
    auto verify = [&]() -> Result<void> {
      TRY(verify_block(bytes, geometry, expectation));
      return check_end(TreeBlock(bytes), child.end);
    };
    Result<void> outcome = {};
    if (!*request.outcome) {
      // Of several blocks read as one, each gets its own try.
      if (alone)
        outcome = Error(request.outcome->error().clone());
      else
        outcome = state_.fs.volume().read_copy(Logical(child.bytenr), bytes, request.copy);
    }
    if (outcome) outcome = verify();
    if (outcome) return TreeBlock(bytes);
    std::string first_text = bad_block_text(child.bytenr, outcome.error());
    auto other = state_.fs.volume().chunks().find(child.bytenr)
                     ? state_.fs.volume().read_other_copies(Logical(child.bytenr), bytes, request.copy,
                                                            std::move(outcome).error(), verify)
                     : std::move(outcome);
    if (!other) {
      bad(batch, child, other.error());
      return std::nullopt;
    }
    if (options_.first)
      state_.report.add(finding::bad_copy, first_text + " (another copy is good)",
                        {{"bytenr", child.bytenr}, {"copy", static_cast<uint64_t>(request.copy)}});
    return TreeBlock(bytes);
  }

  static Result<void> check_end(const TreeBlock& block, const Key& end) {
    if (block.nritems() == 0 || block.key(block.nritems() - 1) < end) return {};
    return Error(err::node_key_order, "keys reach behind the next block's")
        .expected(fmt::format("below {}", end), block.key(block.nritems() - 1));
  }

  void bad(const Batch& batch, const Child& child, const Error& error) {
    if (!options_.first) return;
    state_.table.update(child.bytenr, [](BlockFacts& facts) { facts.good = facts.complete = false; });
    state_.report.add(finding::bad_block, bad_block_text(child.bytenr, error),
                      {{"bytenr", child.bytenr}, {"tree", batch.root->id}});
  }

  void visit(const Batch& batch, const TreeBlock& block, const Key& end, InodeContext& context) {
    BlockFacts known = state_.table.find(block.bytenr());
    if (options_.first) state_.block_seen(block);
    Referrer from{block.owner(), known.full_backref ? block.bytenr() : 0};
    if (block.is_leaf())
      visit_leaf(batch, block, from, context);
    else
      visit_node(batch, block, end, from);
  }

  void visit_node(const Batch& batch, const TreeBlock& node, const Key& end, const Referrer& from) {
    if (options_.first && takes_part(*batch.root))
      state_.table.update(node.bytenr(), [](BlockFacts& facts) { facts.holds_files = true; });
    auto child_level = static_cast<uint8_t>(node.level() - 1);
    Batch next{batch.root, child_level, {}};
    for (uint32_t slot = batch.root->first_kept_slot(node); slot < node.nritems(); ++slot) {
      const KeyPtr& pointer = node.key_ptr(slot);
      if (options_.references) refer(pointer, child_level, from);
      if (!state_.table.claim(pointer.blockptr)) continue;
      next.children.push_back({pointer.blockptr, pointer.generation, pointer.key.key(),
                               slot + 1 < node.nritems() ? node.key(slot + 1) : end, slot});
      if (next.children.size() < batch_blocks) continue;
      frontier_.push(std::move(next));
      next = {batch.root, child_level, {}};
    }
    if (!next.children.empty()) frontier_.push(std::move(next));
  }

  void refer(const KeyPtr& pointer, uint8_t level, const Referrer& from) {
    add_tree_pointer(pointer.blockptr, level, pointer.generation, from, sink_);
    if (!options_.first || from.parent != 0) return;
    state_.table.update(pointer.blockptr,
                        [&](BlockFacts& facts) { facts.referrer = std::min(facts.referrer, from.owner); });
  }

  static bool takes_part(const RootRecord& root) { return root.holds_files() || root.is_reloc(); }

  void visit_leaf(const Batch& batch, const TreeBlock& leaf, const Referrer& from, InodeContext& context) {
    bool files = takes_part(*batch.root);
    if (files) find_context(batch, leaf, context);
    InodeContext before = context;
    if (options_.references) data_pointers(*batch.root, leaf, from, before);
    if (!files) return;
    SumSink sums(state_.key);
    add_file_facts(leaf, rules_, context, sums);
    if (!options_.first) return;
    state_.table.update(leaf.bytenr(), [&](BlockFacts& facts) {
      facts.sum = sums.sum;
      facts.holds_files = true;
    });
    for (uint32_t slot = 0; slot < leaf.nritems(); ++slot) {
      Key key = leaf.key(slot);
      if (!is_file_item(key))
        state_.report.add(finding::item_key,
                          fmt::format("unknown key ({} {} {}) found in leaf {}", key.objectid,
                                      static_cast<unsigned>(key.type), key.offset, leaf.bytenr()),
                          {{"bytenr", leaf.bytenr()}, {"tree", batch.root->id}});
    }
  }

  // Where a leaf begins in the middle of an inode, and the leaf before is not at hand: asks the tree.
  void find_context(const Batch& batch, const TreeBlock& leaf, InodeContext& context) {
    if (leaf.nritems() == 0) return;
    Key first = leaf.key(0);
    bool of_inode = first.type != ItemType::inode_item && first.type != ItemType::orphan_item &&
                    first.objectid != id::free_space;
    if (!of_inode || context.inode == first.objectid) return;
    context = {.inode = first.objectid};
    std::optional<Key> extent;
    for (uint32_t slot = 0; slot < leaf.nritems() && leaf.key(slot).objectid == first.objectid; ++slot)
      if (leaf.key(slot).type == ItemType::extent_data) {
        extent = leaf.key(slot);
        break;
      }
    BlockCursor cursor(state_.blocks(), batch.root->block);
    Key item{first.objectid, ItemType::inode_item, 0};
    auto found = cursor.seek(item);
    if (!found || !*found || cursor.key() != item) return;
    const auto* inode = overlay<InodeItem>(cursor.data());
    context.known = true;
    context.flags = inode->flags;
    context.mode = inode->mode;
    if (!extent || extent->offset == 0 || first != *extent) return;
    found = cursor.seek_back(extent->predecessor());
    if (found && *found && cursor.key().objectid == extent->objectid &&
        cursor.key().type == ItemType::extent_data)
      context.extent_end = span_of(cursor.key().offset, cursor.data(), rules_.sectorsize).end;
  }

  void data_pointers(const RootRecord& root, const TreeBlock& leaf, const Referrer& from,
                     const InodeContext& before) {
    uint64_t inode = before.inode;
    bool known = before.known, nodatasum = before.nodatasum();
    for (uint32_t slot = 0; slot < leaf.nritems(); ++slot) {
      const DiskKey& disk_key = leaf.item(slot).key;
      bool is_inode = disk_key.type == static_cast<uint8_t>(ItemType::inode_item);
      if (!is_inode && disk_key.type != static_cast<uint8_t>(ItemType::extent_data)) continue;
      Key key = disk_key.key();
      Bytes data = leaf.item_data(slot);
      if (key.objectid != inode) {
        inode = key.objectid;
        known = nodatasum = false;
      }
      if (is_inode) {
        known = true;
        nodatasum = (overlay<InodeItem>(data)->flags & inode_flag::nodatasum) != 0;
        continue;
      }
      const auto& head = *overlay<FileExtentHead>(data);
      if (options_.first && head.generation > state_.geometry().generation + 1)
        from_the_future(leaf, key, head);
      if (head.type == static_cast<uint8_t>(FileExtentType::inline_data)) continue;
      const auto& extent = *overlay<FileExtent>(data);
      if (extent.disk_bytenr == 0) continue;
      add_data_pointer(key, extent, from, sink_);
      if (options_.first) {
        state_.statistics.data_allocated.fetch_add(extent.disk_num_bytes, std::memory_order_relaxed);
        state_.statistics.data_referenced.fetch_add(extent.num_bytes, std::memory_order_relaxed);
      }
      checksum_facts(root, leaf.owner(), key, extent, known, nodatasum);
    }
  }

  void from_the_future(const TreeBlock& leaf, const Key& key, const FileExtentHead& head) {
    state_.report.add(
        finding::extent_generation,
        fmt::format("root {} EXTENT_DATA[{} {}] invalid file extent generation, have {} expect (0, {}]",
                    leaf.owner(), key.objectid, key.offset, head.generation.value(),
                    state_.geometry().generation + 1),
        {{"root", leaf.owner()}, {"inode", key.objectid}});
  }

  // What this file extent expects of the checksum tree. It is looked up for those that want no checksums, as
  // they may share an extent with those that do; where only a part of the extent has some; for files whose
  // inode is not known and those that relocation makes: whatever is there is right for them.
  void checksum_facts(const RootRecord& root, uint64_t owner, const Key& key, const FileExtent& extent,
                      bool known, bool nodatasum) {
    if (!state_.checksums_known) return;
    bool regular = extent.head.type == static_cast<uint8_t>(FileExtentType::regular);
    bool judged = takes_part(root) && known && regular && owner != id::data_reloc_tree;
    bool partly = std::binary_search(state_.partly_summed.begin(), state_.partly_summed.end(),
                                     extent.disk_bytenr.value());
    if (judged && (partly || nodatasum)) look_up_checksums(root, owner, key, extent, nodatasum);
    if (partly) return;
    bool wants = judged;
    if ((takes_part(root) && !known) || (judged && nodatasum) || owner == id::data_reloc_tree)
      wants = summed_bytes(extent.disk_bytenr, state_.geometry().sectorsize) != 0;
    sink_.add({FactKind::checksummed, extent.disk_bytenr, {wants}}, 1);
  }

  void look_up_checksums(const RootRecord& root, uint64_t owner, const Key& key, const FileExtent& extent,
                         bool nodatasum) {
    if (!options_.first || root.is_reloc()) return;
    bool compressed = extent.head.compression != 0;
    uint64_t start = extent.disk_bytenr + (compressed ? 0 : extent.offset.value());
    uint64_t length = compressed ? extent.disk_num_bytes : extent.num_bytes;
    uint64_t summed = summed_bytes(start, length);
    const char* what = nullptr;
    if (!nodatasum && summed < length) what = "1000, some csum missing";
    if (nodatasum && summed > 0) what = "800, odd csum item";
    if (what)
      state_.report.add(finding::inode, fmt::format("root {} inode {} errors {}", owner, key.objectid, what),
                        {{"root", owner}, {"inode", key.objectid}});
  }

  uint64_t summed_bytes(uint64_t start, uint64_t length) {
    return CsumRanges(state_, state_.root(id::csum_tree), start, start + length, true)
        .take(start, start + length);
  }

  State& state_;
  const ScanOptions& options_;
  Frontier& frontier_;
  FactSink& sink_;
  const FileRules rules_;
  std::unique_ptr<block::Queue> queue_;
  std::vector<std::byte> buffer_;
  std::vector<Volume::ReadRequest> requests_;
  std::vector<size_t> request_of_;
};

// Compares a block with what one of its parents says of it.
void compare_child(State& state, uint64_t parent_owner, uint8_t level, const KeyPtr& pointer,
                   const BlockFacts& child) {
  if (!child.good) return;
  const char* what = nullptr;
  uint64_t wanted = 0, found = 0;
  if (child.generation != pointer.generation) {
    what = "generation";
    wanted = pointer.generation;
    found = child.generation;
  } else if (child.level != level) {
    what = "level";
    wanted = level;
    found = child.level;
  } else if (!owner_agrees(child.owner, parent_owner)) {
    what = "owner";
    wanted = parent_owner;
    found = child.owner;
  } else if (child.first_key != state.hash_key(pointer.key.key())) {
    state.report.add(finding::block_mismatch,
                     fmt::format("bad block {}: first key is not the {} that its parent has",
                                 pointer.blockptr.value(), pointer.key.key()),
                     {{"bytenr", pointer.blockptr}});
    return;
  }
  if (!what) return;
  bool transid = child.generation != pointer.generation;
  state.report.add(finding::block_mismatch,
                   transid ? fmt::format("parent transid verify failed on {} wanted {} found {}",
                                         pointer.blockptr.value(), wanted, found)
                           : fmt::format("bad block {}: {} wanted {} found {}", pointer.blockptr.value(),
                                         what, wanted, found),
                   {{"bytenr", pointer.blockptr}});
}

Result<void> sum_node(State& state, uint64_t bytenr) {
  BlockFacts facts = state.table.find(bytenr);
  auto block = state.blocks().read({Logical(bytenr), facts.generation, facts.level, id::tree_reloc, {}});
  state.progress.add(state.geometry().nodesize, 1);
  Sum sum;
  bool complete = block.has_value();
  if (block) {
    const TreeBlock& node = **block;
    auto child_level = static_cast<uint8_t>(node.level() - 1);
    for (uint32_t slot = 0; slot < node.nritems(); ++slot) {
      const KeyPtr& pointer = node.key_ptr(slot);
      BlockFacts child = state.table.find(pointer.blockptr);
      compare_child(state, node.owner(), child_level, pointer, child);
      sum.add(child.sum);
      complete = complete && child.good && child.complete;
    }
  }
  state.table.update(bytenr, [&](BlockFacts& changed) {
    changed.sum = sum;
    changed.complete = complete;
  });
  return {};
}

}  // namespace

Result<void> scan_trees(State& state, std::span<const RootRecord> roots, const ScanOptions& options) {
  Frontier frontier;
  // Taken from the end: the first root comes first, those that are being deleted last, for the inode item
  // that a leaf's first items belong to may be gone from them.
  for (bool deleted : {true, false})
    for (size_t i = roots.size(); i-- > 0;) {
      const RootRecord& root = roots[i];
      const BlockPointer& block = root.block;
      if (root.drop_progress.has_value() != deleted) continue;
      if (block.level >= max_level || !state.table.claim(raw(block.address))) continue;
      frontier.push({&root, block.level, {{raw(block.address), block.generation, {}, Key::max(), 0}}});
    }
  TaskGroup group(state.pool);
  for (unsigned i = 0; i < state.pool.thread_count(); ++i)
    group.run([&]() -> Result<void> {
      try {
        Worker(state, options, frontier).run();
      } catch (...) {
        frontier.fail();
        throw;
      }
      return {};
    });
  return group.wait();
}

Result<void> sum_nodes(State& state) {
  constexpr size_t task_nodes = 64;
  for (uint8_t level = 1; level < max_level; ++level) {
    const std::vector<uint64_t> nodes = state.table.file_nodes(level);
    if (nodes.empty()) continue;
    TaskGroup group(state.pool);
    for (size_t first = 0; first < nodes.size(); first += task_nodes)
      group.run([&state, some = std::span(nodes).subspan(
                             first, std::min(task_nodes, nodes.size() - first))]() -> Result<void> {
        for (uint64_t bytenr : some) TRY(sum_node(state, bytenr));
        return {};
      });
    TRY(group.wait());
  }
  return {};
}

}  // namespace karst::btrfs::check

#include "btrfs/tool/check/extent_exact.h"

#include <algorithm>
#include <deque>
#include <thread>
#include <unordered_map>

#include "btrfs/tool/check/allocation.h"
#include "btrfs/tool/check/dirty_rounds.h"
#include "btrfs/tool/check/extent_facts.h"
#include "btrfs/tool/check/scan.h"

namespace karst::btrfs::check {
namespace {

// A fact and how often it holds, on either side.
struct Record {
  Fact fact;
  uint64_t recorded = 0, found = 0;
};

// Keeps the facts of the chosen buckets.
class CollectSink final : public FactSink {
 public:
  CollectSink(const SketchKey& key, const std::vector<bool>& chosen, std::atomic<int64_t>& room)
      : key_(key), chosen_(chosen), room_(room) {}

  void add(const Fact& fact, Times times) override {
    if (!chosen_[BucketSketch::bucket_of(key_, fact.subject)]) return;
    if (room_.load(std::memory_order_relaxed) < 0 || room_.fetch_sub(1, std::memory_order_relaxed) <= 0)
      return;
    records.push_back({fact, times.subtracts ? times.count : 0, times.subtracts ? 0 : times.count});
  }
  std::deque<Record> records;  // grows without moving

 private:
  const SketchKey& key_;
  const std::vector<bool>& chosen_;
  std::atomic<int64_t>& room_;
};

class CollectSinks {
 public:
  CollectSinks(const SketchKey& key, const std::vector<bool>& chosen, size_t room)
      : key_(key), chosen_(chosen), room_(static_cast<int64_t>(room)) {}
  FactSink& mine() {
    MutexLock lock(mutex_);
    auto& sink = sinks_[std::this_thread::get_id()];
    if (!sink) sink = std::make_unique<CollectSink>(key_, chosen_, room_);
    return *sink;
  }
  bool overflowed() const { return room_.load() < 0; }
  // All records, those of one extent together.
  std::vector<Record> take() {
    MutexLock lock(mutex_);
    size_t count = 0;
    for (const auto& [thread, sink] : sinks_) count += sink->records.size();
    std::vector<Record> all;
    all.reserve(count);
    for (auto& [thread, sink] : sinks_) {
      all.insert(all.end(), sink->records.begin(), sink->records.end());
      sink->records = {};
    }
    std::sort(all.begin(), all.end(), [](const Record& a, const Record& b) {
      return std::pair(a.fact.subject, a.fact) < std::pair(b.fact.subject, b.fact);
    });
    return all;
  }

 private:
  static constexpr LockClass lock_class{"check.collect-sinks"};
  const SketchKey& key_;
  const std::vector<bool>& chosen_;
  std::atomic<int64_t> room_;  // records that may still be kept; negative when one was not
  Mutex mutex_{lock_class};
  std::unordered_map<std::thread::id, std::unique_ptr<CollectSink>> sinks_ GUARDED_BY(mutex_);
};

// Words for one extent.
class ExtentReport {
 public:
  ExtentReport(State& state, std::vector<Record> records)
      : state_(state), records_(std::move(records)), bytenr_(records_.front().fact.subject) {}

  void run() {
    measure();
    for (const Record& record : records_) reference(record);
    sizes();
    counts();
    checksums();
  }

 private:
  static bool is_extent(const Record& r) {
    return r.fact.kind == FactKind::tree_block || r.fact.kind == FactKind::data_extent;
  }

  void measure() {
    for (const Record& r : records_) {
      if (!is_extent(r)) continue;
      refs_ += r.recorded;
      found_ += r.found;
      if (r.recorded > 0) exists_ = true;
      // The extent item's size is the better one.
      if (length_ == 0 || r.recorded > 0)
        length_ = r.fact.kind == FactKind::tree_block ? state_.geometry().nodesize : r.fact.words[0];
    }
  }

  void reference(const Record& r) {
    const auto& words = r.fact.words;
    switch (r.fact.kind) {
      case FactKind::tree_ref: tree_reference(r, "root"); break;
      case FactKind::shared_tree_ref: tree_reference(r, "parent"); break;
      case FactKind::data_ref:
        data_reference(r, fmt::format("root {} owner {} offset {}", words[0], words[1], words[2]));
        break;
      case FactKind::shared_data_ref: data_reference(r, fmt::format("parent {}", words[0])); break;
      default: return;
    }
    backrefs_ += r.recorded;
  }

  void tree_reference(const Record& r, const char* by) {
    if (r.recorded == r.found) return;
    const char* what = "is referenced more often than once";
    if (r.recorded == 0) what = "has no backref item in extent tree";
    if (r.found == 0) what = "has no tree block found";
    backref(fmt::format("tree extent[{}, {}] {} {} {}", bytenr_, length_, by, r.fact.words[0], what));
  }

  void data_reference(const Record& r, const std::string& by) {
    if (r.recorded == r.found) return;
    backref(fmt::format("data extent[{}, {}] referencer count mismatch ({}) wanted {} have {}", bytenr_,
                        length_, by, r.recorded, r.found));
  }

  void backref(std::string text) {
    mismatch_ = true;
    state_.report.add(finding::extent_backref, std::move(text), {{"bytenr", bytenr_}});
  }

  void sizes() {
    for (const Record& r : records_) {
      if (!is_extent(r) || r.found == 0 || r.recorded > 0 || !exists_) continue;
      if (r.fact.kind == FactKind::tree_block)
        tree_block(r.fact);
      else
        backref(fmt::format("data extent[{}, {}] size mismatch, extent item size {} file item size {}",
                            bytenr_, length_, length_, r.fact.words[0]));
    }
  }

  // What the extent item says of a tree block is not what its parents say.
  void tree_block(const Fact& found) {
    for (const Record& r : records_) {
      if (r.fact.kind != FactKind::tree_block || r.recorded == 0) continue;
      if (r.fact.words[0] != found.words[0])
        state_.report.add(finding::extent_level,
                          fmt::format("metadata level mismatch on [{}, {}]", bytenr_, length_),
                          {{"bytenr", bytenr_}});
      else
        state_.report.add(finding::extent_generation,
                          fmt::format("extent[{} {}] backref generation mismatch, wanted: {}, have: {}",
                                      bytenr_, length_, found.words[1], r.fact.words[1]),
                          {{"bytenr", bytenr_}});
    }
  }

  void counts() {
    if (refs_ != found_)
      state_.report.add(
          finding::extent_refs,
          fmt::format("ref mismatch on [{} {}] extent item {}, found {}", bytenr_, length_, refs_, found_),
          {{"bytenr", bytenr_}});
    else if (exists_ && backrefs_ != refs_ && !mismatch_)
      backref(
          fmt::format("incorrect global backref count on {} found {} wanted {}", bytenr_, backrefs_, refs_));
    if (mismatch_)
      state_.report.add(finding::extent_backref,
                        fmt::format("backpointer mismatch on [{} {}]", bytenr_, length_),
                        {{"bytenr", bytenr_}});
    // Of tree blocks that were read, check_blocks() says it.
    if (found_ == 0 && exists_)
      state_.report.add(finding::extent_backref,
                        fmt::format("owner ref check failed [{} {}]", bytenr_, length_),
                        {{"bytenr", bytenr_}});
  }

  // Whether file extents and the checksum tree agree. A preallocated extent may have checksums once another
  // file has written to it.
  void checksums() {
    bool has = false, wants = false, refuses = false, known = false;
    for (const Record& r : records_) {
      if (r.fact.kind != FactKind::checksummed) continue;
      if (r.recorded > 0) {
        known = true;
        has = r.fact.words[0] != 0;
      }
      if (r.found > 0) (r.fact.words[0] != 0 ? wants : refuses) = true;
    }
    if (!known || !state_.checksums_known) return;
    const char* what = nullptr;
    unsigned bit = 0;
    if (!has && wants) {
      what = "some csum missing";
      bit = 1u << 12;
    } else if (has && refuses && !wants) {
      what = "odd csum item";
      bit = 1u << 11;
    }
    if (!what) return;
    for (const Record& r : records_) {
      bool direct = r.fact.kind == FactKind::data_ref, shared = r.fact.kind == FactKind::shared_data_ref;
      if (r.found == 0 || (!direct && !shared) || (direct && r.fact.words[0] == id::root_tree)) continue;
      if (direct)
        state_.report.add(
            finding::inode,
            fmt::format("root {} inode {} errors {:x}, {}", r.fact.words[0], r.fact.words[1], bit, what),
            {{"root", r.fact.words[0]}, {"inode", r.fact.words[1]}, {"bytenr", bytenr_}});
      else
        state_.report.add(
            finding::inode,
            fmt::format("file extents in leaf {}: {} [{}, {}]", r.fact.words[0], what, bytenr_, length_),
            {{"leaf", r.fact.words[0]}, {"bytenr", bytenr_}});
    }
  }

  State& state_;
  const std::vector<Record> records_;
  const uint64_t bytenr_;
  uint64_t length_ = 0, refs_ = 0, found_ = 0, backrefs_ = 0;
  bool exists_ = false, mismatch_ = false;
};

// Records of the same fact, added up.
std::vector<Record> joined(std::span<const Record> records) {
  std::vector<Record> all;
  for (const Record& record : records) {
    if (!all.empty() && all.back().fact == record.fact) {
      all.back().recorded += record.recorded;
      all.back().found += record.found;
    } else {
      all.push_back(record);
    }
  }
  return all;
}

void report_extents(State& state, const std::vector<Record>& records) {
  for (size_t first = 0; first < records.size();) {
    size_t end = first;
    while (end < records.size() && records[end].fact.subject == records[first].fact.subject) ++end;
    std::vector<Record> extent = joined(std::span(records).subspan(first, end - first));
    bool agrees =
        std::all_of(extent.begin(), extent.end(), [](const Record& r) { return r.recorded == r.found; });
    if (!agrees) ExtentReport(state, std::move(extent)).run();
    first = end;
  }
}

}  // namespace

void tell_roots(State& state, FactSink& sink) {
  for (const RootRecord& root : state.roots) {
    uint64_t bytenr = raw(root.block.address);
    if (!root.is_reloc())
      state.table.update(bytenr,
                         [&](BlockFacts& facts) { facts.referrer = std::min(facts.referrer, root.id); });
    // A relocation tree's root is its own parent. Source: Linux fs/btrfs/relocation.c.
    add_tree_pointer(bytenr, root.block.level, root.block.generation, {root.id, root.is_reloc() ? bytenr : 0},
                     sink);
  }
}

Result<void> explain_extents(State& state, const BucketSketch::Dirty& references,
                             const BucketSketch::Dirty& checksums) {
  constexpr uint64_t enough = 1000;  // findings; more of a kind are not listed anyway
  std::vector<bool> dirty = references.flags;
  if (state.checksums_known)
    for (uint32_t i = 0; i < BucketSketch::buckets; ++i) dirty[i] = dirty[i] || checksums.flags[i];
  DirtyRounds rounds(dirty);
  const uint64_t before = state.report.problems();
  std::vector<bool> chosen;
  while (rounds.next(chosen)) {
    state.table.next_scan();
    CollectSinks sinks(state.key, chosen, state.memory / sizeof(Record) / 2);
    auto make_sink = [&]() -> FactSink& { return sinks.mine(); };
    TRY(check_allocation(state, {.make_sink = make_sink, .first = false}));
    tell_roots(state, sinks.mine());
    TRY(scan_trees(state, state.roots, {.make_sink = make_sink, .first = false}));
    if (sinks.overflowed()) {
      rounds.shrink();
      continue;
    }
    report_extents(state, sinks.take());
    if (state.report.problems() - before > enough) break;
  }
  if (rounds.unexplained() > 0)
    state.report.add(finding::extent_backref, "there are more extents with errors, which are not listed");
  return {};
}

}  // namespace karst::btrfs::check

#include "btrfs/tool/du.h"

#include <algorithm>
#include <unordered_set>

#include "btrfs/format/backref.h"
#include "btrfs/tool/walk.h"

namespace karst::btrfs {
namespace {

constexpr size_t remembered_blocks = 1 << 16;

// The extent that a file extent item refers to; nullptr if it refers to none.
const FileExtent* on_disk_extent(Bytes item) {
  const auto* extent = overlay<FileExtent>(item);
  if (!extent || FileExtentType(extent->head.type) == FileExtentType::inline_data || extent->disk_bytenr == 0)
    return nullptr;
  return extent;
}

// The bytes that any of many ranges covers.
class RangeUnion {
 public:
  void add(uint64_t start, uint64_t length) {
    if (!ranges_.empty() && ranges_.back().second == start) {
      ranges_.back().second += length;
      return;
    }
    if (ranges_.size() >= merge_at_) {
      merge();
      merge_at_ = std::max(merge_at_, 2 * ranges_.size());
    }
    ranges_.emplace_back(start, start + length);
  }
  uint64_t bytes() {
    merge();
    uint64_t sum = 0;
    for (auto [start, end] : ranges_) sum += end - start;
    return sum;
  }

 private:
  void merge() {
    std::sort(ranges_.begin(), ranges_.end());
    size_t kept = 0;
    for (auto range : ranges_) {
      if (kept > 0 && range.first <= ranges_[kept - 1].second)
        ranges_[kept - 1].second = std::max(ranges_[kept - 1].second, range.second);
      else
        ranges_[kept++] = range;
    }
    ranges_.resize(kept);
  }
  std::vector<std::pair<uint64_t, uint64_t>> ranges_;
  size_t merge_at_ = 1 << 16;
};

struct Use {
  uint64_t total = 0, shared = 0;
  Use& operator+=(const Use& other) {
    total += other.total;
    shared += other.shared;
    return *this;
  }
};

class Measurement {
 public:
  Measurement(const Image& image, const Located& start, std::string_view start_path, const DuOptions& options,
              FunctionRef<Result<void>(const DiskUse&)> receive)
      : fs_(image.fs()),
        start_(start),
        options_(options),
        receive_(receive),
        sharing_(fs_),
        path_(start_path) {}

  Result<uint64_t> run();

 private:
  struct Frame {
    InodeId directory;
    size_t path_length;
    Use use;
  };
  Result<void> take(const WalkEntry& entry);
  Result<Use> measure_file(const InodeId& file);
  Result<void> give(bool is_directory, const Use& use);
  Result<void> leave();
  void append(std::string_view name);
  void problem(const Error& error) {
    ++problems_;
    fs_.log().error("cannot measure", {{"path", path_}}, &error);
  }

  const Filesystem& fs_;
  const Located& start_;
  const DuOptions& options_;
  FunctionRef<Result<void>(const DiskUse&)> receive_;
  ExtentSharing sharing_;
  std::string path_;                    // of what is measured
  std::vector<Frame> frames_;           // directories entered and not yet given, outermost first
  std::unordered_set<InodeId> linked_;  // inodes with several names, seen so far
  RangeUnion shared_;
  uint64_t problems_ = 0;
};

void Measurement::append(std::string_view name) {
  if (!path_.ends_with('/')) path_ += '/';
  path_ += name;
}

// FIEMAP's physical address: of a compressed extent's part, that of the whole extent.
uint64_t physical_start(const FileExtent& extent) {
  bool compressed = Compression(extent.head.compression) != Compression::none;
  return extent.disk_bytenr + (compressed ? 0 : extent.offset.value());
}

Result<Use> Measurement::measure_file(const InodeId& file) {
  Use use;
  Cursor cursor(TRY(fs_.tree(file.subvolume)));
  cursor.set_readahead(true);
  Key first{file.inode, ItemType::extent_data, 0};
  bool more = TRY(cursor.seek(first)) && cursor.key().objectid == file.inode &&
              cursor.key().type == ItemType::extent_data;
  for (; more; more = TRY(cursor.next_of(file.inode, ItemType::extent_data))) {
    const FileExtent* extent = on_disk_extent(cursor.data());
    if (!extent) continue;
    use.total += extent->num_bytes;
    if (!TRY(sharing_.is_shared(file.subvolume, cursor.key(), *extent))) continue;
    use.shared += extent->num_bytes;
    shared_.add(physical_start(*extent), extent->num_bytes);
  }
  return use;
}

Result<void> Measurement::give(bool is_directory, const Use& use) {
  bool is_start = frames_.empty();
  if (!is_start) frames_.back().use += use;
  if (options_.summarize && !is_start) return {};
  DiskUse facts{path_, is_directory, use.total, use.total - use.shared, {}};
  if (is_start) facts.set_shared = is_directory ? shared_.bytes() : use.shared;
  return receive_(facts);
}

// Ends the innermost directory.
Result<void> Measurement::leave() {
  Frame frame = frames_.back();
  frames_.pop_back();
  path_.resize(frame.path_length);
  return give(true, frame.use);
}

Result<void> Measurement::take(const WalkEntry& entry) {
  bool is_start = entry.path.empty();
  while (!is_start && frames_.size() > 1 && frames_.back().directory != entry.parent) TRY(leave());
  if (!entry.attributes.is_directory() && !entry.attributes.is_regular()) return {};
  if (!frames_.empty()) path_.resize(frames_.back().path_length);
  if (!is_start) append(entry.name);
  if (entry.attributes.is_directory()) {
    frames_.push_back({entry.id, path_.size(), {}});
    return {};
  }
  if (entry.attributes.nlink > 1 && !linked_.insert(entry.id).second) return {};
  auto use = measure_file(entry.id);
  if (use) return give(false, *use);
  problem(use.error());
  return {};
}

Result<uint64_t> Measurement::run() {
  Walker walker(fs_, start_);
  for (;;) {
    auto entry = walker.next();
    if (!entry) {
      problem(entry.error());
      continue;
    }
    if (!*entry) break;
    TRY(take(**entry));
  }
  while (!frames_.empty()) TRY(leave());
  return problems_;
}

}  // namespace

Result<void> ExtentSharing::enter(uint64_t subvolume) {
  if (subvolume_ == subvolume) return {};
  subvolume_.reset();
  last_snapshot_ = TRY(fs_->root(subvolume)).item.last_snapshot;
  tree_ = TRY(fs_->tree(subvolume));
  subvolume_ = subvolume;
  return {};
}

// Puts the cursor at the item of the extent or tree block there; false if there is none.
Result<bool> ExtentSharing::find_extent(uint64_t bytenr) {
  if (!extents_) extents_.emplace(TRY(fs_->tree(id::extent_tree)));
  if (!TRY(extents_->seek({bytenr, ItemType::extent_item, 0}))) return false;
  const Key& key = extents_->key();
  return key.objectid == bytenr &&
         (key.type == ItemType::extent_item || key.type == ItemType::metadata_item) &&
         extents_->as<ExtentItem>() != nullptr;
}

// By what the extent tree says, inline and in items of their own; at least `enough` of them if there are.
Result<ExtentSharing::References> ExtentSharing::references_of(uint64_t bytenr, size_t enough) {
  References references;
  if (!TRY(find_extent(bytenr))) return references;
  auto add = [&](ItemType type, uint64_t parent, const ExtentDataRef* data) {
    if (type == ItemType::shared_data_ref)
      references[{0, 0, parent}] = 1;
    else if (type == ItemType::extent_data_ref && data)
      references[{data->root, data->objectid, data->offset}] = data->count;
  };
  Bytes item = extents_->data();
  for (uint64_t at = sizeof(ExtentItem); at < item.size() && references.size() < enough;) {
    auto reference = read_inline_ref(item.subspan(at));
    if (!reference) break;
    add(reference->type, reference->offset, overlay<ExtentDataRef>(item, at + 1));
    at += reference->size;
  }
  while (references.size() < enough && TRY(extents_->next()) && extents_->key().objectid == bytenr)
    add(extents_->key().type, extents_->key().offset, extents_->as<ExtentDataRef>());
  return references;
}

// What the replay of a tree's log adds to the references to each extent, and takes away.
Result<void> ExtentSharing::add_replayed(const Tree& tree) {
  if (!tree.overlay) return {};
  auto count = [&](const Key& key, Bytes item, int64_t change) {
    if (const FileExtent* extent = on_disk_extent(item))
      replayed_[extent->disk_bytenr][{tree.id, key.objectid, key.offset - extent->offset}] += change;
  };
  Tree below = tree;
  below.overlay = nullptr;
  Cursor before(below);
  for (const auto& [key, item] : *tree.overlay) {
    if (key.type != ItemType::extent_data) continue;
    if (item) count(key, *item, 1);
    if (TRY(before.find(key))) count(key, before.data(), -1);
  }
  return {};
}

Result<void> ExtentSharing::read_logs(const Tree& logs) {
  Cursor cursor(logs);
  for (bool more = TRY(cursor.seek({id::tree_log, ItemType::root_item, 0})); more;
       more = TRY(cursor.next())) {
    if (cursor.key().type != ItemType::root_item) continue;
    auto tree = fs_->tree(cursor.key().offset);
    if (tree) TRY(add_replayed(*tree));
  }
  return {};
}

void ExtentSharing::load_replayed() {
  if (std::exchange(loaded_, true)) return;
  auto logs = fs_->log_root_tree();
  if (!logs) return;
  // A log that cannot be read has not been replayed either.
  if (!read_logs(*logs)) replayed_.clear();
}

// Whether data has more than one reference: one may count several items of a file whose place in the extent
// is the same, as when the middle of an extent was overwritten.
Result<bool> ExtentSharing::has_more_references(uint64_t bytenr) {
  load_replayed();
  auto changes = replayed_.find(bytenr);
  bool changed = changes != replayed_.end();
  if (!changed && (!TRY(find_extent(bytenr)) || extents_->as<ExtentItem>()->refs <= 1)) return false;
  References references = TRY(references_of(bytenr, changed ? ~size_t{0} : 2));
  if (changed)
    for (const auto& [reference, change] : changes->second) references[reference] += change;
  return std::count_if(references.begin(), references.end(),
                       [](const auto& each) { return each.second > 0; }) > 1;
}

Result<bool> ExtentSharing::is_block_shared(uint64_t bytenr) {
  auto known = blocks_.find(bytenr);
  if (known != blocks_.end()) return known->second;
  bool shared = TRY(find_extent(bytenr)) && extents_->as<ExtentItem>()->refs > 1;
  if (blocks_.size() >= remembered_blocks) blocks_.clear();
  blocks_.emplace(bytenr, shared);
  return shared;
}

Result<bool> ExtentSharing::is_path_shared(uint64_t subvolume, const Key& key) {
  BlockPointer pointer = tree_.root;
  for (;;) {
    if (TRY(is_block_shared(raw(pointer.address)))) return true;
    if (pointer.level == 0) return false;
    BlockRef node = TRY(tree_.blocks->read(pointer));
    if (node->nritems() == 0) return false;
    const KeyPtr& child = node->key_ptr(node->child_slot(key));
    pointer = {Logical(child.blockptr.value()), child.generation, static_cast<uint8_t>(pointer.level - 1),
               subvolume, child.key.key()};
  }
}

Result<bool> ExtentSharing::is_shared(uint64_t subvolume, const Key& key, const FileExtent& extent) {
  if (TRY(has_more_references(extent.disk_bytenr))) return true;
  TRY(enter(subvolume));
  // Blocks are shared by snapshots only, and this item is younger than the last.
  if (extent.head.generation > last_snapshot_) return false;
  return is_path_shared(subvolume, key);
}

Result<uint64_t> measure_disk_use(const Image& image, const Located& start, std::string_view start_path,
                                  const DuOptions& options,
                                  FunctionRef<Result<void>(const DiskUse&)> receive) {
  if (start.attributes.is_regular() || start.attributes.is_directory())
    return Measurement(image, start, start_path, options, receive).run();
  return uint64_t{0};
}

}  // namespace karst::btrfs

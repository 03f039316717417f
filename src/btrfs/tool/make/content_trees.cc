// The trees of a new file system whose content is known before its chunks are placed: checksums, UUIDs, the
// relocation tree's empty directory, quota groups.
#include "btrfs/format/inode_mode.h"
#include "btrfs/format/object_ids.h"
#include "btrfs/format/quota.h"
#include "btrfs/tool/make/image_writer.h"
#include "btrfs/tool/make/references.h"

namespace karst::btrfs {
namespace {

// Checksums of sectors that follow each other, cut into items as Linux would (fs/btrfs/file-item.c,
// MAX_CSUM_ITEMS).
class ChecksumItems {
 public:
  ChecksumItems(BulkTree& tree, const Geometry& geometry)
      : tree_(tree),
        sectorsize_(geometry.sectorsize),
        size_(geometry.checksum_size),
        limit_(std::min<size_t>((geometry.nodesize - sizeof(Header) - 2 * sizeof(Item)) / size_ - 1, 4096) *
               size_) {}
  Result<void> add(uint64_t address, Bytes sums) {
    while (!sums.empty()) {
      if (address != next_ || item_.size() == limit_) {
        TRY(flush());
        start_ = address;
      }
      size_t length = std::min(sums.size(), limit_ - item_.size());
      item_.insert(item_.end(), sums.begin(), sums.begin() + static_cast<ptrdiff_t>(length));
      address += length / size_ * sectorsize_;
      next_ = address;
      sums = sums.subspan(length);
    }
    return {};
  }
  Result<void> flush() {
    if (!item_.empty()) TRY(tree_.add({id::extent_csum, ItemType::extent_csum, start_}, item_));
    item_.clear();
    return {};
  }

 private:
  BulkTree& tree_;
  const uint64_t sectorsize_;
  const size_t size_, limit_;
  uint64_t start_ = 0, next_ = 0;
  std::vector<std::byte> item_;
};

}  // namespace

// Of all checksums that were computed, those of extents that something refers to.
Result<void> ImageWriter::write_checksum_tree() {
  const Geometry& geometry = stamp_.geometry;
  BulkTree tree = begin_tree(id::csum_tree);
  ChecksumItems items(tree, geometry);
  ExtentReferences extents = references();
  bool more = TRY(extents.next());
  ExternalSorter::Reader sums = checksums_.reader();
  while (TRY(sums.next())) {
    const uint64_t start = *overlay<be64>(sums.key());
    const uint64_t end = start + sums.value().size() / geometry.checksum_size * geometry.sectorsize;
    while (more && extents.end() <= start) more = TRY(extents.next());
    while (more && extents.address() < end) {
      const uint64_t from = std::max(start, extents.address()), to = std::min(end, extents.end());
      TRY(items.add(from, sums.value().subspan((from - start) / geometry.sectorsize * geometry.checksum_size,
                                               (to - from) / geometry.sectorsize * geometry.checksum_size)));
      if (extents.end() > end) break;
      more = TRY(extents.next());
    }
  }
  TRY(items.flush());
  add_root(id::csum_tree, 0, root_item(TRY(tree.finish())));
  return {};
}

// A tree with an empty directory.
Result<TreeRoot> ImageWriter::write_directory_tree(uint64_t id) {
  InodeItem inode{};
  inode.generation = inode.transid = generation();
  inode.nlink = 1;
  inode.mode = mode::directory | 0755;
  inode.atime = inode.ctime = inode.mtime = inode.otime = {options_.time, 0};
  BulkTree tree = begin_tree(id);
  TRY(tree.add({id::first_free, ItemType::inode_item, 0}, bytes_of(inode)));
  TRY(tree.add({id::first_free, ItemType::inode_ref, id::first_free},
               {bytes_of(InodeRef{0, 2}), as_bytes("..")}));
  return tree.finish();
}

Result<void> ImageWriter::add_empty_top_level() {
  const TreeRoot root = TRY(write_directory_tree(id::fs_tree));
  return add_subvolume({.root = root, .place = {}, .snapshot_of = {}, .time = {options_.time, 0}});
}

// For relocation to have inodes in.
Result<void> ImageWriter::write_reloc_tree() {
  RootItem item = root_item(TRY(write_directory_tree(id::data_reloc_tree)));
  item.root_dirid = id::first_free;
  add_root(id::data_reloc_tree, 0, item);
  return {};
}

Result<void> ImageWriter::write_uuid_tree() {
  BulkTree tree = begin_tree(id::uuid_tree);
  for (const auto& [key, item] : uuid_items_) TRY(tree.add(key, item));
  add_root(id::uuid_tree, 0, root_item(TRY(tree.finish())));
  return {};
}

// A quota group for each subvolume, with what it refers to and what it alone refers to. A snapshot shares all
// that its source has but the root block.
Result<void> ImageWriter::write_quota_tree() {
  struct Numbers {
    uint64_t referenced = 0, exclusive = 0;
  };
  std::map<uint64_t, Numbers> groups;
  std::multimap<uint64_t, uint64_t> snapshots;  // of a subvolume
  for (const auto& [id, made] : subvolumes_) {
    groups[id];
    if (made.subvolume.snapshot_of) snapshots.emplace(*made.subvolume.snapshot_of, id);
  }
  auto count = [&](std::vector<uint64_t> roots, uint64_t bytes) {
    for (size_t i = 0; i < roots.size(); ++i)
      for (auto [at, end] = snapshots.equal_range(roots[i]); at != end; ++at)
        if (std::find(roots.begin(), roots.end(), at->second) == roots.end()) roots.push_back(at->second);
    for (uint64_t root : roots) {
      groups[root].referenced += bytes;
      if (roots.size() == 1) groups[root].exclusive += bytes;
    }
  };
  ExtentReferences extents = references();
  while (TRY(extents.next())) {
    std::vector<uint64_t> roots;
    TRY(extents.for_each([&](const DataReference& reference) -> Result<void> {
      if (std::find(roots.begin(), roots.end(), reference.root) == roots.end())
        roots.push_back(reference.root);
      return {};
    }));
    count(std::move(roots), extents.length());
  }
  for (const BlockRecord& block : metadata_.records()) {
    auto made = subvolumes_.find(block.owner);
    if (made == subvolumes_.end()) continue;
    if (block.bytenr != raw(made->second.subvolume.root.address))
      count({block.owner}, options_.nodesize);
    else {
      groups[block.owner].referenced += options_.nodesize;
      groups[block.owner].exclusive += options_.nodesize;
    }
  }

  BulkTree tree = begin_tree(id::quota_tree);
  QgroupStatusItem status{1, generation(), qgroup_flag::on, 0, 0};
  TRY(tree.add({0, ItemType::qgroup_status, 0}, bytes_of(status).first(qgroup_status_legacy_size)));
  for (const auto& [id, numbers] : groups)
    TRY(tree.add({0, ItemType::qgroup_info, id},
                 bytes_of(QgroupInfoItem{generation(), numbers.referenced, numbers.referenced,
                                         numbers.exclusive, numbers.exclusive})));
  for (const auto& [id, numbers] : groups)
    TRY(tree.add({0, ItemType::qgroup_limit, id}, bytes_of(QgroupLimitItem{})));
  add_root(id::quota_tree, 0, root_item(TRY(tree.finish())));
  return {};
}

}  // namespace karst::btrfs

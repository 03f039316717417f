// Test support: small valid blocks and superblocks, to be broken one field at a time.
#pragma once
#include <string>
#include <vector>

#include "btrfs/format/backref.h"
#include "btrfs/format/check.h"
#include "btrfs/format/inode.h"
#include "btrfs/format/inode_mode.h"
#include "btrfs/format/quota.h"
#include "btrfs/format/root.h"

namespace karst::btrfs::testing {

constexpr Uuid test_fsid{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
constexpr uint64_t test_bytenr = 30408704;
constexpr uint64_t test_generation = 7;

inline Geometry test_geometry() {
  Geometry geometry;
  geometry.nodesize = 4096;
  geometry.sectorsize = 4096;
  geometry.checksum_type = ChecksumType::crc32c;
  geometry.checksum_size = 4;
  geometry.generation = test_generation;
  geometry.incompat = incompat::skinny_metadata | incompat::no_holes;
  geometry.total_bytes = 1 << 30;
  geometry.metadata_uuid = test_fsid;
  return geometry;
}

inline std::string text_of(Bytes bytes) { return std::string(as_text(bytes)); }
template <Overlay... T>
std::string packed(const T&... parts) {
  std::string out;
  ((out += as_text(bytes_of(parts))), ...);
  return out;
}
// The sample with one thing changed.
template <typename T, typename Change>
T changed(T sample, Change change) {
  change(sample);
  return sample;
}

// A block's bytes, and what can be done to them.
struct Block {
  std::vector<std::byte> bytes;

  Header& header() { return *reinterpret_cast<Header*>(bytes.data()); }
  Item& item(uint32_t slot) {
    return *reinterpret_cast<Item*>(bytes.data() + sizeof(Header) + slot * sizeof(Item));
  }
  KeyPtr& key_ptr(uint32_t slot) {
    return *reinterpret_cast<KeyPtr*>(bytes.data() + sizeof(Header) + slot * sizeof(KeyPtr));
  }
  void fix_checksum(ChecksumType type = ChecksumType::crc32c) {
    Checksum checksum = compute_checksum(type, Bytes(bytes).subspan(checksum_field_size));
    std::memcpy(bytes.data(), checksum.bytes.data(), checksum.bytes.size());
  }
  TreeBlock view() const { return TreeBlock(bytes); }
};

inline Header test_header(uint64_t owner, uint8_t level) {
  Header header{};
  header.fsid = test_fsid;
  header.bytenr = test_bytenr;
  header.flags = header_flag_written | (uint64_t{1} << header_backref_rev_shift);
  header.generation = test_generation;
  header.owner = owner;
  header.level = level;
  return header;
}

class LeafBuilder {
 public:
  explicit LeafBuilder(uint64_t owner = id::fs_tree, uint32_t nodesize = 4096)
      : header_(test_header(owner, 0)) {
    bytes_.resize(nodesize);
    end_ = nodesize - sizeof(Header);
  }
  LeafBuilder& item(const Key& key, std::string_view data = {}) {
    end_ -= static_cast<uint32_t>(data.size());
    Item item{DiskKey::from(key), end_, static_cast<uint32_t>(data.size())};
    std::memcpy(bytes_.data() + sizeof(Header) + header_.nritems * sizeof(Item), &item, sizeof item);
    std::ranges::copy(std::as_bytes(std::span(data)), bytes_.begin() + sizeof(Header) + end_);
    header_.nritems += 1;
    return *this;
  }
  Block build() const {
    Block block{bytes_};
    std::memcpy(block.bytes.data(), &header_, sizeof header_);
    block.fix_checksum();
    return block;
  }

 private:
  Header header_;
  std::vector<std::byte> bytes_;
  uint32_t end_;
};

inline Block build_node(uint64_t owner, const std::vector<KeyPtr>& pointers) {
  Block block{std::vector<std::byte>(4096)};
  Header header = test_header(owner, 1);
  header.nritems = static_cast<uint32_t>(pointers.size());
  std::memcpy(block.bytes.data(), &header, sizeof header);
  std::memcpy(block.bytes.data() + sizeof header, pointers.data(), pointers.size() * sizeof(KeyPtr));
  block.fix_checksum();
  return block;
}
inline KeyPtr pointer_to(uint64_t objectid, uint64_t block) {
  return {DiskKey::from({objectid, ItemType::inode_item, 0}), block, test_generation};
}

// The name of the error that a block has, or "ok". With the checksum made right first.
inline std::string verdict(Block block, const Geometry& geometry = test_geometry(),
                           BlockExpectation expected = {Logical(test_bytenr)}) {
  block.fix_checksum(geometry.checksum_type);
  auto result = verify_block(block.bytes, geometry, expected);
  return result ? "ok" : result.error().kind().name;
}
inline std::string verdict(const LeafBuilder& leaf, const Geometry& geometry = test_geometry()) {
  return verdict(leaf.build(), geometry);
}

// --- valid items -------------------------------------------------------------------------------------

inline InodeItem sample_inode(uint32_t mode = mode::regular | 0644) {
  InodeItem inode{};
  inode.generation = inode.transid = 6;
  inode.size = 3;
  inode.nlink = 1;
  inode.mode = mode;
  return inode;
}
inline std::string sample_dir_entry(std::string_view name, FileType type = FileType::regular,
                                    const Key& location = {257, ItemType::inode_item, 0},
                                    std::string_view data = {}) {
  DirItem entry{DiskKey::from(location), 6, static_cast<uint16_t>(data.size()),
                static_cast<uint16_t>(name.size()), static_cast<uint8_t>(type)};
  return packed(entry).append(name).append(data);
}
inline std::string sample_inode_ref(uint64_t index, std::string_view name) {
  return packed(InodeRef{index, static_cast<uint16_t>(name.size())}).append(name);
}
inline std::string sample_extref(uint64_t parent, uint64_t index, std::string_view name) {
  return packed(InodeExtref{parent, index, static_cast<uint16_t>(name.size())}).append(name);
}
inline FileExtent sample_file_extent(uint64_t num_bytes = 8192) {
  FileExtent extent{};
  extent.head = {6, num_bytes, 0, 0, 0, static_cast<uint8_t>(FileExtentType::regular)};
  extent.disk_bytenr = 13631488;
  extent.disk_num_bytes = num_bytes;
  extent.num_bytes = num_bytes;
  return extent;
}
inline std::string sample_inline_extent(std::string_view data, uint64_t ram_bytes, uint8_t compression = 0) {
  FileExtentHead head{6, ram_bytes, compression, 0, 0, static_cast<uint8_t>(FileExtentType::inline_data)};
  return packed(head).append(data);
}
inline RootItem sample_root() {
  RootItem root{};
  root.inode.flags = inode_flag::root_item_init;
  root.generation = root.generation_v2 = 6;
  root.bytenr = 30416896;
  root.refs = 1;
  return root;
}
inline std::string sample_root_ref(std::string_view name) {
  return packed(RootRef{256, 2, static_cast<uint16_t>(name.size())}).append(name);
}
inline std::string data_ref(uint64_t root, uint64_t objectid, uint64_t offset, uint32_t count) {
  return packed(static_cast<uint8_t>(ItemType::extent_data_ref),
                ExtentDataRef{root, objectid, offset, count});
}
inline std::string plain_ref(ItemType type, uint64_t offset) {
  return packed(InlineRef{static_cast<uint8_t>(type), offset});
}
inline std::string sample_data_extent(uint64_t refs, std::string_view inline_refs) {
  return packed(ExtentItem{refs, 6, extent_flag::data}).append(inline_refs);
}
inline std::string sample_tree_extent(uint64_t refs, std::string_view inline_refs) {
  return packed(ExtentItem{refs, 6, extent_flag::tree_block}).append(inline_refs);
}
struct ChunkOfTwo {
  Chunk chunk;
  Stripe stripes[2];
};
inline ChunkOfTwo sample_chunk(uint64_t type = block_group::system | block_group::dup) {
  return {{8 << 20, id::extent_tree, stripe_length, type, 65536, 65536, 4096, 2, 1},
          {{1, 22 << 20, test_fsid}, {1, 30 << 20, test_fsid}}};
}
inline DevItem sample_device() {
  DevItem device{};
  device.devid = 1;
  device.total_bytes = 1 << 30;
  device.bytes_used = 100 << 20;
  device.io_align = device.io_width = device.sector_size = 4096;
  device.uuid = device.fsid = test_fsid;
  return device;
}
inline DevExtent sample_dev_extent() {
  return {id::chunk_tree, id::first_chunk_tree, 22 << 20, 8 << 20, test_fsid};
}

// --- superblock --------------------------------------------------------------------------------------

inline void fix_checksum(Superblock& super, ChecksumType type = ChecksumType::crc32c) {
  Checksum checksum = compute_checksum(type, bytes_of(super).subspan(checksum_field_size));
  std::memcpy(super.checksum, checksum.bytes.data(), checksum.bytes.size());
}

inline Superblock sample_superblock() {
  Superblock super{};
  super.fsid = test_fsid;
  super.bytenr = superblock_offset;
  super.flags = super_flag::written;
  super.magic = superblock_magic;
  super.generation = test_generation;
  super.root = test_bytenr;
  super.chunk_root = 22 << 20;
  super.chunk_root_generation = 5;
  super.total_bytes = 1 << 30;
  super.bytes_used = 147456;
  super.root_dir_objectid = id::root_tree_dir;
  super.num_devices = 1;
  super.sectorsize = super.stripesize = 4096;
  super.nodesize = super.leafsize = 16384;
  super.incompat_flags = incompat::mixed_backref | incompat::big_metadata | incompat::skinny_metadata |
                         incompat::extended_iref | incompat::no_holes;
  super.dev_item = sample_device();
  std::memcpy(super.label, "karst", 5);
  std::string array =
      packed(DiskKey::from({id::first_chunk_tree, ItemType::chunk_item, 22 << 20}), sample_chunk());
  super.sys_chunk_array_size = static_cast<uint32_t>(array.size());
  std::memcpy(super.sys_chunk_array, array.data(), array.size());
  super.super_roots[0].tree_root = test_bytenr;
  super.super_roots[0].tree_root_gen = test_generation;
  fix_checksum(super);
  return super;
}

}  // namespace karst::btrfs::testing

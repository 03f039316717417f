// Blocks with bits flipped at random and the checksum made right, so that every rule behind it is reached.
// Nothing may crash, whatever the verdict; what passes is printed, and so is what does not.
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>

#include "btrfs/format/print.h"
#include "btrfs/format/testing_blocks.h"

namespace karst::btrfs {
namespace {

using namespace testing;

std::vector<Block> samples() {
  const std::string zeroes(448, '\0');
  const std::string inode = packed(sample_inode(mode::directory | 0755));
  return {
      LeafBuilder()
          .item({256, ItemType::inode_item, 0}, inode)
          .item({256, ItemType::inode_ref, 256}, sample_inode_ref(0, ".."))
          .item({256, ItemType::xattr_item, name_hash("user.x")},
                sample_dir_entry("user.x", FileType::xattr, {}, "value"))
          .item({256, ItemType::dir_item, name_hash("file")}, sample_dir_entry("file"))
          .item({256, ItemType::dir_index, 2}, sample_dir_entry("file"))
          .item({257, ItemType::inode_item, 0}, packed(sample_inode()))
          .item({257, ItemType::inode_ref, 256}, sample_inode_ref(2, "file") + sample_inode_ref(3, "link"))
          .item({257, ItemType::inode_extref, extref_hash(300, "far")}, sample_extref(300, 9, "far"))
          .item({257, ItemType::verity_desc_item, 0}, packed(VerityDescriptorItem{}))
          .item({257, ItemType::extent_data, 0}, packed(sample_file_extent()))
          .item({257, ItemType::extent_data, 8192}, packed(sample_file_extent()))
          .item({258, ItemType::inode_item, 0}, packed(sample_inode()))
          .item({258, ItemType::extent_data, 0}, sample_inline_extent("hello", 5))
          .build(),
      LeafBuilder(id::extent_tree)
          .item({8192, ItemType::extent_item, 8192},
                sample_data_extent(3, data_ref(5, 257, 0, 2) + plain_ref(ItemType::shared_data_ref, 4096) +
                                          packed(SharedDataRef{1})))
          .item({16384, ItemType::metadata_item, 0},
                sample_tree_extent(1, plain_ref(ItemType::tree_block_ref, 5)))
          .item({20480, ItemType::extent_item, 4096},
                sample_tree_extent(1, packed(TreeBlockInfo{}) + plain_ref(ItemType::shared_block_ref, 4096)))
          .item({20480, ItemType::extent_data_ref, 77}, packed(ExtentDataRef{5, 257, 0, 1}))
          .item({20480, ItemType::block_group_item, 1 << 20},
                packed(BlockGroupItem{4096, 256, block_group::data}))
          .build(),
      LeafBuilder(id::root_tree)
          .item({5, ItemType::root_item, 0}, packed(sample_root()))
          .item({5, ItemType::root_ref, 257}, sample_root_ref("snap"))
          .item({257, ItemType::root_backref, 5}, sample_root_ref("snap"))
          .item({id::free_space, ItemType{}, 1 << 20}, packed(FreeSpaceHeader{}))
          .item({id::balance, ItemType::temporary_item, 0}, zeroes)
          .build(),
      LeafBuilder(id::chunk_tree)
          .item({0, ItemType::qgroup_status, 0}, zeroes.substr(0, 40))
          .item({0, ItemType::qgroup_info, 5}, zeroes.substr(0, 40))
          .item({0, ItemType::qgroup_limit, 5}, zeroes.substr(0, 40))
          .item({0, ItemType::persistent_item, 1}, zeroes.substr(0, 56))
          .item({0, ItemType::dev_replace, 0}, zeroes.substr(0, 72))
          .item({1, ItemType::dev_extent, 1 << 20}, packed(sample_dev_extent()))
          .item({1, ItemType::dev_item, 1}, packed(sample_device()))
          .item({1, ItemType::uuid_subvol, 9}, packed(le64(257)))
          .item({256, ItemType::chunk_item, 22 << 20}, packed(sample_chunk()))
          .item({4096, ItemType::free_space_info, 1 << 20}, packed(FreeSpaceInfo{1, 0}))
          .item({4096, ItemType::free_space_extent, 4096})
          .item({8192, ItemType::free_space_bitmap, 8192}, "\x01")
          .item({id::extent_csum, ItemType::extent_csum, 8192}, "12345678")
          .build(),
      build_node(id::fs_tree, {pointer_to(256, 4096), pointer_to(300, 8192)}),
  };
}

// Where the bytes that matter are: the header, the items, and their data at the end.
uint32_t pick_bit(std::mt19937_64& random, const Block& block) {
  uint32_t size = block.view().nodesize() - checksum_field_size;
  uint32_t used = std::min<uint32_t>(size, 1200);
  uint32_t offset = checksum_field_size + static_cast<uint32_t>(random() % used);
  if (random() % 2) offset = block.view().nodesize() - 1 - static_cast<uint32_t>(random() % used);
  return offset * 8 + static_cast<uint32_t>(random() % 8);
}

void exercise(const Block& block) {
  Geometry geometry = test_geometry();
  auto result = verify_block(block.bytes, geometry, {Logical(test_bytenr)});
  EXPECT_TRUE(result || !result.error().message().empty());
  size_t length = 0;
  print_block(block.view(), geometry, {.csum_headers = true, .csum_items = true},
              [&](std::string_view text) { length += text.size(); });
  EXPECT_GT(length, 0u);
  EXPECT_LT(length, 1u << 20);
}

uint64_t seed() {
  const char* given = std::getenv("KARST_SEED");
  return given ? std::strtoull(given, nullptr, 0) : 20221;
}

TEST(Mutation, OfAnyBitsNeverCrashesCheckerOrPrinter_BT012_BT021_BT025) {
  std::mt19937_64 random(seed());
  SCOPED_TRACE(fmt::format("KARST_SEED={}", seed()));
  for (const Block& sample : samples()) {
    ASSERT_EQ(verdict(sample), "ok");
    for (int round = 0; round < 3000; ++round) {
      Block block = sample;
      for (uint64_t flips = 1 + random() % 3; flips > 0; --flips) {
        uint32_t bit = pick_bit(random, block);
        block.bytes[bit / 8] ^= std::byte{1} << (bit % 8);
      }
      block.fix_checksum();
      exercise(block);
      if (round % 100 == 0) (void)block_to_json(block.view(), test_geometry(), {}).dump();
    }
  }
}

// Whole fields, with the values that arithmetic goes wrong with.
TEST(Mutation, OfWholeFieldsNeverCrashesCheckerOrPrinter_BT012_BT021_CO007) {
  std::mt19937_64 random(seed());
  constexpr uint64_t extremes[] = {0,          1,          0x7f,       0xff,  0x8000,       0xffff,
                                   0x7fffffff, 0x80000000, 0xffffffff, ~0ull, ~0ull - 4095, 1ull << 63,
                                   4096};
  for (const Block& sample : samples())
    for (int round = 0; round < 3000; ++round) {
      Block block = sample;
      size_t width = size_t{1} << (random() % 4);
      size_t at = pick_bit(random, block) / 8;
      uint64_t value = extremes[random() % std::size(extremes)];
      std::memcpy(block.bytes.data() + at, &value, std::min(width, block.bytes.size() - at));
      block.fix_checksum();
      exercise(block);
    }
}

TEST(Mutation, OfSuperblocksNeverCrashesCheckerOrPrinter_BT032) {
  std::mt19937_64 random(seed());
  for (int round = 0; round < 5000; ++round) {
    Superblock super = sample_superblock();
    auto* bytes = reinterpret_cast<uint8_t*>(&super);
    for (uint64_t flips = 1 + random() % 3; flips > 0; --flips)
      bytes[checksum_field_size + random() % 1000] ^= static_cast<uint8_t>(1u << (random() % 8));
    fix_checksum(super);
    (void)check_superblock(super, superblock_offset);
    (void)system_chunks(super);
    print_superblock(super, true, [](std::string_view text) { EXPECT_FALSE(text.empty()); });
  }
}

}  // namespace
}  // namespace karst::btrfs

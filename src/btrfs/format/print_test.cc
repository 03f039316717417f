// The text is compared with the stock tool's on whole images elsewhere; here are its forms, and that nothing
// broken is more than text.
#include "btrfs/format/print.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "btrfs/format/testing_blocks.h"
#include "btrfs/format/text.h"

namespace karst::btrfs {
namespace {

using namespace testing;
using nlohmann::ordered_json;

std::string text_of(const Block& block, const PrintOptions& options = {}) {
  std::string text;
  print_block(block.view(), test_geometry(), options, [&](std::string_view piece) { text += piece; });
  return text;
}
ordered_json json_of(const Block& block, const PrintOptions& options = {}) {
  return block_to_json(block.view(), test_geometry(), options);
}

Block directory_leaf() {
  return LeafBuilder()
      .item({256, ItemType::inode_ref, 256}, sample_inode_ref(0, ".."))
      .item({256, ItemType::dir_index, 2}, sample_dir_entry("a name\n"))
      .build();
}

TEST(PrintBlock, IsDumpTreesText_BT025) {
  EXPECT_EQ(text_of(directory_leaf()),
            "leaf 30408704 items 2 free space 3896 generation 7 owner FS_TREE\n"
            "leaf 30408704 flags 0x1(WRITTEN) backref revision 1\n"
            "fs uuid 01020304-0506-0708-090a-0b0c0d0e0f10\n"
            "chunk uuid 00000000-0000-0000-0000-000000000000\n"
            "\titem 0 key (256 INODE_REF 256) itemoff 3983 itemsize 12\n"
            "\t\tindex 0 namelen 2 name: ..\n"
            "\titem 1 key (256 DIR_INDEX 2) itemoff 3946 itemsize 37\n"
            "\t\tlocation key (257 INODE_ITEM 0) type FILE\n"
            "\t\ttransid 6 data_len 0 name_len 7\n"
            "\t\tname: a\\ name\\n\n");
}

TEST(PrintBlock, PrintsNodes_BT025) {
  EXPECT_EQ(text_of(build_node(id::csum_tree, {pointer_to(256, 4096)})),
            "node 30408704 level 1 items 1 free space 120 generation 7 owner CSUM_TREE\n"
            "node 30408704 flags 0x1(WRITTEN) backref revision 1\n"
            "fs uuid 01020304-0506-0708-090a-0b0c0d0e0f10\n"
            "chunk uuid 00000000-0000-0000-0000-000000000000\n"
            "\tkey (256 INODE_ITEM 0) block 4096 gen 7\n");
}

TEST(PrintBlock, HidesNamesAndValues) {
  Block block =
      LeafBuilder()
          .item({256, ItemType::xattr_item, 1}, sample_dir_entry("user.secret", FileType::xattr, {}, "value"))
          .item({256, ItemType::root_ref, 257}, sample_root_ref("secret"))
          .build();
  EXPECT_EQ(text_of(block, {.hide_names = true}).find("secret"), std::string::npos);
  EXPECT_EQ(json_of(block, {.hide_names = true}).dump().find("secret"), std::string::npos);
  EXPECT_NE(text_of(block, {.hide_names = true}).find("\t\tname: HIDDEN\n\t\tdata HIDDEN\n"),
            std::string::npos);
}

TEST(PrintBlock, PrintsChecksumsOnRequest_BT025) {
  Block block = LeafBuilder(id::csum_tree)
                    .item({id::extent_csum, ItemType::extent_csum, 8192}, "\x01\x02\x03\x04\x05\x06\x07\x08")
                    .build();
  EXPECT_NE(text_of(block, {.csum_headers = true}).find("backref revision 1 csum 0x"), std::string::npos);
  EXPECT_NE(
      text_of(block, {.csum_items = true})
          .find("\t\trange start 8192 end 16384 length 8192\n\t\t[8192] 0x01020304 [12288] 0x05060708\n"),
      std::string::npos);
}

TEST(BlockToJson, HasTheSameFactsAsNumbersNamesAndNull) {
  ordered_json json = json_of(directory_leaf());
  EXPECT_EQ(json["owner"], 5);
  EXPECT_EQ(json["fsid"], "01020304-0506-0708-090a-0b0c0d0e0f10");
  EXPECT_EQ(json["chunk_tree_uuid"], nullptr);
  EXPECT_EQ(json["items"][1]["key"]["type_name"], "DIR_INDEX");
  EXPECT_EQ(json["items"][1]["entries"][0]["name"], "a name\n");
  EXPECT_EQ(json["items"][1]["entries"][0]["location"]["objectid"], 257);
}

TEST(BlockToJson, KeepsTheBytesOfNamesThatAreNoText) {
  Block block = LeafBuilder().item({256, ItemType::dir_index, 2}, sample_dir_entry("a\xff")).build();
  ordered_json entry = json_of(block)["items"][0]["entries"][0];
  EXPECT_EQ(entry["name"], "a\uFFFD");
  EXPECT_EQ(entry["name_hex"], "61ff");
  EXPECT_NO_THROW(entry.dump());
}

TEST(PrintBlock, SaysSoWhereAnItemIsBroken_BT025) {
  Block block = directory_leaf();
  block.item(1).size = 5;
  EXPECT_NE(text_of(block).find("invalid: item of 5 bytes has no 30 bytes at 0"), std::string::npos);
  block.item(1).size = 5000;
  EXPECT_NE(text_of(block).find(
                "ERROR: leaf 30408704 slot 1 pointer invalid, offset 3946 size 5000 leaf data limit "
                "3995\nERROR: skip remaining slots\n"),
            std::string::npos);
}

TEST(PrintSuperblock, IsDumpSupersText_BT025_BT032) {
  std::string text;
  print_superblock(sample_superblock(), true, [&](std::string_view piece) { text += piece; });
  for (const char* line :
       {"csum_type\t\t0 (crc32c)\n", "csum_size\t\t4\n", "[match]\nbytenr\t\t\t65536\n",
        "flags\t\t\t0x1\n\t\t\t( WRITTEN )\n", "magic\t\t\t_BHRfS_M [match]\n", "label\t\t\tkarst\n",
        "log_root_transid (deprecated)\t0\n",
        "\t\t\t( MIXED_BACKREF |\n\t\t\t  BIG_METADATA |\n\t\t\t  EXTENDED_IREF |\n",
        "dev_item.fsid\t\t01020304-0506-0708-090a-0b0c0d0e0f10 [match]\n",
        "sys_chunk_array[2048]:\n\titem 0 key (FIRST_CHUNK_TREE CHUNK_ITEM 23068672)\n",
        "backup_roots[4]:\n\tbackup 0:\n\t\tbackup_tree_root:\t30408704\tgen: 7\tlevel: 0\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << "in\n" << text;
}

TEST(PrintSuperblock, SurvivesABrokenOne_BT025) {
  Superblock super = sample_superblock();
  super.csum_type = 99;
  super.sys_chunk_array_size = 5000;
  std::string text;
  print_superblock(super, true, [&](std::string_view piece) { text += piece; });
  EXPECT_NE(text.find("99 (INVALID)"), std::string::npos);
  EXPECT_NE(text.find("sys_array_size 5000 shouldn't exceed 2048 bytes"), std::string::npos);
  EXPECT_NO_THROW(superblock_to_json(super, true).dump());
}

TEST(Text, PlainTextIsValidUtf8WithoutControlCharacters) {
  EXPECT_TRUE(is_plain_text("grün 水 🜁"));
  for (std::string_view bad : {"\n", "\x7f", "\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"})
    EXPECT_FALSE(is_plain_text(bad));
}

}  // namespace
}  // namespace karst::btrfs

#include "btrfs/format/key.h"

#include <gtest/gtest.h>

namespace karst::btrfs {
namespace {

struct KeyCase {
  Key key;
  const char* text;
};

// BT-025: a key is printed as the stock tool prints it.
TEST(KeyText, NamesObjectsAndTypesAsDumpTreeDoes_BT025) {
  // clang-format off
  const KeyCase cases[] = {
      {{256, ItemType::inode_item, 0},                        "(256 INODE_ITEM 0)"},
      {{257, ItemType::dir_index, ~0ull},                     "(257 DIR_INDEX -1)"},
      {{id::extent_csum, ItemType::extent_csum, 13631488},    "(EXTENT_CSUM EXTENT_CSUM 13631488)"},
      {{1, ItemType::dev_item, 1},                            "(DEV_ITEMS DEV_ITEM 1)"},
      {{1, ItemType::dev_extent, 1048576},                    "(1 DEV_EXTENT 1048576)"},
      {{1, ItemType::root_item, 0},                           "(ROOT_TREE ROOT_ITEM 0)"},
      {{0, ItemType::persistent_item, 1},                     "(DEV_STATS PERSISTENT_ITEM 1)"},
      {{256, ItemType::chunk_item, 22020096},                 "(FIRST_CHUNK_TREE CHUNK_ITEM 22020096)"},
      {{id::data_reloc_tree, ItemType::root_item, 0},         "(DATA_RELOC_TREE ROOT_ITEM 0)"},
      {{id::tree_reloc, ItemType::root_item, 5},              "(TREE_RELOC ROOT_ITEM FS_TREE)"},
      {{257, ItemType::root_item, ~0ull},                     "(257 ROOT_ITEM 18446744073709551615)"},
      {{id::orphan, ItemType::orphan_item, 300},              "(ORPHAN ORPHAN_ITEM 300)"},
      {{id::free_space, ItemType{}, 13631488},                "(FREE_SPACE UNTYPED 13631488)"},
      {{300, ItemType{}, 1},                                  "(300 UNKNOWN.0 1)"},
      {{300, ItemType{7}, 1},                                 "(300 UNKNOWN.7 1)"},
      {{0, ItemType::qgroup_info, 5},                         "(0 QGROUP_INFO 0/5)"},
      {{0, ItemType::qgroup_limit, (1ull << 48) | 100},       "(0 QGROUP_LIMIT 1/100)"},
      {{257, ItemType::qgroup_relation, (1ull << 48) | 100},  "(0/257 QGROUP_RELATION 1/100)"},
      {{0x1234, ItemType::uuid_subvol, 0xabcdef},             "(0x0000000000001234 UUID_KEY_SUBVOL 0x0000000000abcdef)"},
      {{id::balance, ItemType::temporary_item, 0},            "(BALANCE TEMPORARY_ITEM 0)"},
      {{~0ull, ItemType::inode_item, 0},                      "(-1 INODE_ITEM 0)"},
  };
  // clang-format on
  for (const KeyCase& c : cases) EXPECT_EQ(key_text(c.key), c.text);
}

TEST(RootName, OfARelocationTreeShowsTheOffsetOfItsKey_BT025) {
  EXPECT_EQ(root_name(Key{id::tree_reloc, ItemType::root_item, 300}), "TREE_RELOC offset=300");
  EXPECT_EQ(root_name(Key{257, ItemType::root_item, 12}), "257");
  EXPECT_EQ(root_name(id::csum_tree), "CSUM_TREE");
}

TEST(Key, SuccessorAndPredecessorCarryIntoTypeAndObject) {
  Key key{5, ItemType{255}, ~0ull};
  EXPECT_EQ(key.successor(), (Key{6, ItemType{0}, 0}));
  EXPECT_EQ(key.successor().predecessor(), key);
  EXPECT_EQ(Key::max().successor(), Key::max());
  EXPECT_EQ(Key::min().predecessor(), Key::min());
}

}  // namespace
}  // namespace karst::btrfs

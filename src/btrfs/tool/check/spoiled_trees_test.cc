// Trees that are spoiled, one thing at a time: their blocks, root items, links of subvolumes, quota groups.
#include "btrfs/format/quota.h"
#include "btrfs/format/root.h"
#include "btrfs/tool/check/testing_spoil.h"

namespace karst::btrfs::testing {
namespace {

const Spoiled table[] = {
    // The last key of a leaf that is not the tree's last is behind the first of the next leaf.
    {"KeysBehindTheNextLeaf", usual,
     [](const PristineImage& image, Devices& devices) {
       auto last_key = [](MutableBytes bytes) -> DiskKey& {
         auto& header = *reinterpret_cast<Header*>(bytes.data());
         return reinterpret_cast<Item*>(bytes.data() + sizeof(Header))[header.nritems - 1].key;
       };
       uint64_t chosen = 0, leaves = 0;
       Key least = Key::max();
       for (const auto& block : image.blocks()) {
         if (block.owner != id::extent_tree || block.level != 0) continue;
         ++leaves;
         image.change_block(devices, block.bytenr, [&](MutableBytes bytes) {
           if (last_key(bytes).key() < least) chosen = block.bytenr;
           least = std::min(least, last_key(bytes).key());
         });
       }
       if (leaves < 2) return false;
       image.change_block(devices, chosen, [&](MutableBytes bytes) {
         last_key(bytes).objectid = 1ull << 60;
         last_key(bytes).type = 0xfe;
       });
       return true;
     },
     "bad-tree-block", "behind the next"},
    {"TreeThatIsMissing", usual,
     super([](Superblock& s) { s.compat_ro_flags = s.compat_ro_flags | compat_ro::block_group_tree; }),
     "missing-tree", "no root item of tree BLOCK_GROUP_TREE"},
    // Linux finds the newest item of a subvolume, and that of a tree of its own at 0 only.
    {"TreeAtAnOffset", usual,
     item(id::root_tree, ItemType::root_item,
          [](const Key& key, MutableBytes, Item& head) {
            if (key.objectid != id::csum_tree) return false;
            head.key.offset = 64;
            return true;
          }),
     "root-item", "root item of tree CSUM_TREE is not found at the offset 64"},
    {"RootDirectoryId", usual,
     item(id::root_tree, ItemType::root_item,
          [](const Key& key, MutableBytes data, Item&) {
            if (key.objectid != id::fs_tree) return false;
            as<RootItem>(data).root_dirid = 300;
            return true;
          }),
     "root-directory", "root 5 root dir 300 not found"},
    {"SubvolumeAtTheLastOffset", usual,
     item(id::root_tree, ItemType::root_item,
          [](const Key& key, MutableBytes, Item& head) {
            if (key.objectid != id::fs_tree) return false;
            head.key.offset = ~0ull;
            return true;
          }),
     "root-item", "root item of tree FS_TREE is not found at the offset 18446744073709551615"},
    {"LogWithoutABlock", "log-links-4k",
     item(id::tree_log, ItemType::root_item,
          [](const Key&, MutableBytes data, Item&) {
            as<RootItem>(data).bytenr = 0;
            return true;
          }),
     "bad-tree-block", "log of subvolume 5 has no tree block"},
    {"DataRelocDirectoryId", usual,
     item(id::root_tree, ItemType::root_item,
          [](const Key& key, MutableBytes data, Item&) {
            if (key.objectid != id::data_reloc_tree) return false;
            as<RootItem>(data).root_dirid = 300;
            return true;
          }),
     "root-directory", "root dir 300 not found"},
    {"RootRefsCount", snapshots,
     item(id::root_tree, ItemType::root_item,
          [](const Key& key, MutableBytes data, Item&) {
            if (key.objectid < id::first_free || key.objectid > id::last_free) return false;
            as<RootItem>(data).refs = 2;
            return true;
          }),
     "root-references", "refs mismatch found 1 expect 2"},
    {"RootRefDirectory", snapshots,
     item(id::root_tree, ItemType::root_ref,
          [](const Key&, MutableBytes data, Item&) {
            as<RootRef>(data).dirid = 100000;
            return true;
          }),
     "root-references", "unresolved ref root"},
    // An index that Linux makes again (BT-053).
    {"UuidTree", usual,
     item(id::uuid_tree, ItemType::uuid_subvol,
          [](const Key&, MutableBytes data, Item&) {
            auto& subvolume = as<le64>(data);
            subvolume = 5000;
            return true;
          }),
     "uuid-tree", "for subvolume 5000, which does not have it"},
    // Referenced and exclusive bytes, counted again (BT-088).
    {"Qgroup", "quota",
     item(id::quota_tree, ItemType::qgroup_info,
          [](const Key&, MutableBytes data, Item&) {
            auto& info = as<QgroupInfoItem>(data);
            info.rfer = info.rfer + 4096;
            return true;
          }),
     "quota-group", "are different"},
    {"QgroupRelation", "quota",
     item(id::quota_tree, ItemType::qgroup_relation,
          [](const Key& key, MutableBytes, Item& head) {
            if (qgroup_level(key.objectid) > 0) return false;
            head.key.offset = key.offset + 1000;
            return true;
          }),
     "quota-group", "relation without its group"},
    {"QgroupOfNobody", "squota",
     item(id::quota_tree, ItemType::qgroup_info,
          [](const Key& key, MutableBytes, Item& head) {
            if (key.offset != id::fs_tree) return false;
            head.key.offset = key.offset + 1;
            return true;
          }),
     "quota-group", "Counts for qgroup id: 0/6 are different"},
    // The last limit, so that the keys stay in order; both items have 40 bytes.
    {"QgroupUnderAnotherObject", "quota",
     [](const PristineImage& image, Devices& devices) {
       Key last;
       change_first(image, devices, id::quota_tree, ItemType::qgroup_limit,
                    [&](const Key& key, MutableBytes, Item&) {
                      last = std::max(last, key);
                      return false;
                    });
       return change_first(image, devices, id::quota_tree, ItemType::qgroup_limit,
                           [&](const Key& key, MutableBytes, Item& head) {
                             if (key != last) return false;
                             head.key.objectid = 1;
                             head.key.type = static_cast<uint8_t>(ItemType::qgroup_info);
                             return true;
                           });
     },
     "quota-group", "under another object"},
    {"SimpleQgroup", "squota",
     item(id::quota_tree, ItemType::qgroup_info,
          [](const Key&, MutableBytes data, Item&) {
            auto& info = as<QgroupInfoItem>(data);
            info.excl = info.excl + 4096;
            return true;
          }),
     "quota-group", "are different"},
};

class SpoiledTrees : public ::testing::TestWithParam<Spoiled> {};
INSTANTIATE_TEST_SUITE_P(Table, SpoiledTrees, ::testing::ValuesIn(table),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

TEST_P(SpoiledTrees, AreFoundAndNamed) { expect_found(GetParam()); }

}  // namespace
}  // namespace karst::btrfs::testing

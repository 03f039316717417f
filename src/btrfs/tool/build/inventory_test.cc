#include "btrfs/tool/build/inventory.h"

#include <gmock/gmock.h>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/testing_inventory.h"

namespace karst::btrfs::build {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using namespace testing;

class InventoryTest : public ::testing::Test {
 protected:
  void declare(Declarations declarations) {
    inventory_.emplace(Inventory::create(options_, declarations).value());
  }
  Inventory& inventory() {
    if (!inventory_) declare({});
    return *inventory_;
  }
  void put(std::string_view path, const Entry& entry) { ASSERT_TRUE(inventory().put(path, entry)); }
  void put_stored(std::string_view path, std::string_view content) {
    ASSERT_TRUE(store_.begin_file(path, {}, content.size()));
    ASSERT_TRUE(store_.write(0, as_bytes(content)));
    const ContentToken token = store_.end_file(content.size()).value();
    put(path, {.attributes = {.mode = mode::regular | 0644, .size = content.size()},
               .content = ContentKind::stored,
               .content_bytes = token});
  }
  std::vector<std::string> lines() { return walk_lines(finish().value(), &store_); }
  Result<Layout> finish() { return inventory().finish(&store_); }

  InventoryOptions options_{.temporary_directory = ::testing::TempDir()};
  MemoryStore store_;
  std::optional<Inventory> inventory_;
};

TEST_F(InventoryTest, NothingSaidIsAnEmptyRoot) { EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 []")); }

TEST_F(InventoryTest, NumbersAreBreadthFirstInTheOrderOfNames) {
  put("b/x", file("1"));
  put("a/z/deep", file("2"));
  put("a.txt", file("3"));
  put("a", directory());
  put("a/y", file("4"));
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [a=257 a.txt=258 b=259]",  //
                                   "5:257 /a 40755 0 [y=260 z=261]",           //
                                   "5:258 /a.txt 100644 0 3",                  //
                                   "5:259 /b 40755 0 [x=262]",                 //
                                   "5:260 /a/y 100644 0 4",                    //
                                   "5:261 /a/z 40755 0 [deep=263]",            //
                                   "5:262 /b/x 100644 0 1",                    //
                                   "5:263 /a/z/deep 100644 0 2"));
}

// A slash sorts before all bytes of names, also before those that are less than it.
TEST_F(InventoryTest, DirectoriesComeInTheOrderOfTheirNumbersWhateverBytesNamesHave) {
  put("a!/x", file("1"));
  put("a/x", file("2"));
  put("a\x01/x", file("3"));
  EXPECT_THAT(lines(),
              ElementsAre("5:256 / 40755 0 [a=257 a\x01=258 a!=259]", "5:257 /a 40755 0 [x=260]",
                          "5:258 /a\x01 40755 0 [x=261]", "5:259 /a! 40755 0 [x=262]",
                          "5:260 /a/x 100644 0 2", "5:261 /a\x01/x 100644 0 3", "5:262 /a!/x 100644 0 1"));
}

// One line for each row of the table in inventory.h.
TEST_F(InventoryTest, ADirectoryOverADirectoryTakesItsAttributesAndKeepsWhatIsInIt) {
  put("d", directory(1));
  put("d/f", file("f"));
  put("d", directory(2));
  EXPECT_THAT(lines(),
              ElementsAre("5:256 / 40755 0 [d=257]", "5:257 /d 40755 2 [f=258]", "5:258 /d/f 100644 0 f"));
}

TEST_F(InventoryTest, AFileOverADirectoryReplacesWhatWasBelow) {
  put("d/e/f", file("f"));
  put("d", file("d"));
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [d=257]", "5:257 /d 100644 0 d"));
}

TEST_F(InventoryTest, ADirectoryOverAFileReplacesIt) {
  put("d", file("d"));
  inventory().begin_layer();
  put("d", directory());
  put("d/f", file("f"));
  EXPECT_THAT(lines(),
              ElementsAre("5:256 / 40755 0 [d=257]", "5:257 /d 40755 0 [f=258]", "5:258 /d/f 100644 0 f"));
}

TEST_F(InventoryTest, WhatIsBelowAFileIsAnError) {
  put("d", file("d"));
  put("d/f", file("f"));
  auto layout = finish();
  ASSERT_FALSE(layout);
  EXPECT_TRUE(layout.error().is(err::source_not_a_directory));
  EXPECT_THAT(layout.error().message(), HasSubstr("/d is no directory"));
}

TEST_F(InventoryTest, RemoveTakesEarlierLayersOnlyWhereverItStands) {
  put("d/old", file("old"));
  put("gone/x", file("x"));
  inventory().begin_layer();
  put("d/new", file("new"));
  ASSERT_TRUE(inventory().remove("d"));
  ASSERT_TRUE(inventory().remove("gone"));
  ASSERT_TRUE(inventory().remove("never/was"));
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [d=257]", "5:257 /d 40755 0 [new=258]",
                                   "5:258 /d/new 100644 0 new"));
}

TEST_F(InventoryTest, ClearKeepsTheDirectory) {
  put("d", directory(7));
  put("d/old/x", file("old"));
  inventory().begin_layer();
  put("d/new", file("new"));
  ASSERT_TRUE(inventory().clear("d"));
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [d=257]", "5:257 /d 40755 7 [new=258]",
                                   "5:258 /d/new 100644 0 new"));
}

TEST_F(InventoryTest, APatchChangesWhatItNamesAndMergesXattrs) {
  const XattrChanges given = {{"user.b", "1"}, {"user.a", "2"}, {"user.c", "3"}};
  Entry entry = file("f", 3);
  entry.xattrs = &given;
  put("f", entry);
  ASSERT_TRUE(inventory().patch("f", {.permissions = 04711}, {{"user.a", std::nullopt}, {"user.b", "4"}}));
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [f=257]", "5:257 /f 104711 3 f user.b=4 user.c=3"));
}

TEST_F(InventoryTest, APatchOfNothingIsAnError) {
  ASSERT_TRUE(inventory().patch("f", {.uid = 1}, {}));
  EXPECT_TRUE(finish().error().is(err::source_missing_path));
}

TEST_F(InventoryTest, TakingAwayAnOriginsXattrIsPassedOn) {
  const FileOrigin origin{.source = 3, .path = "in/source", .change_token = 99};
  put("f", {.attributes = {.mode = mode::regular | 0644, .size = 5},
            .content = ContentKind::source_file,
            .origin = &origin});
  ASSERT_TRUE(inventory().patch("f", {}, {{"user.a", std::nullopt}}));
  const Layout layout = finish().value();
  Walk walk = layout.walk();
  ASSERT_TRUE(walk.next_subvolume().value());
  ASSERT_TRUE(walk.next().value());
  const Inode* inode = walk.next().value();
  ASSERT_TRUE(inode && inode->origin);
  EXPECT_EQ(inode->origin->source, 3u);
  EXPECT_EQ(inode->origin->path, "in/source");
  EXPECT_EQ(inode->origin->change_token, 99u);
  EXPECT_TRUE(inode->xattrs_from_origin);
  ASSERT_EQ(inode->xattrs.size(), 1u);
  EXPECT_FALSE(inode->xattrs[0].value.has_value());
}

TEST_F(InventoryTest, AHardLinkIsOneInodeAtItsFirstNamesPlace) {
  put("z/file", file("content", 4));
  ASSERT_TRUE(inventory().link("a/name", "z/file"));
  ASSERT_TRUE(inventory().link("b", "z/file"));
  EXPECT_THAT(lines(),
              ElementsAre("5:256 / 40755 0 [a=257 b=258 z=259]",  //
                          "5:257 /a 40755 0 [name=258]",          //
                          "5:258 /b,/a/name,/z/file 100644 4 content", "5:259 /z 40755 0 [file=258]"));
}

TEST_F(InventoryTest, ALinkIsToWhatWasThereWhenItWasMade) {
  put("a", file("old"));
  ASSERT_TRUE(inventory().link("b", "a"));
  put("a", file("new"));
  ASSERT_TRUE(inventory().link("c", "a"));
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [a=257 b=258 c=257]", "5:257 /a,/c 100644 0 new",
                                   "5:258 /b 100644 0 old"));
}

TEST_F(InventoryTest, LinksToLinksAreFollowed) {
  put("z", file("content"));
  ASSERT_TRUE(inventory().link("y", "z"));
  ASSERT_TRUE(inventory().link("x", "y"));
  ASSERT_TRUE(inventory().link("w", "x"));
  EXPECT_THAT(lines(),
              ElementsAre("5:256 / 40755 0 [w=257 x=257 y=257 z=257]", "5:257 /w,/x,/y,/z 100644 0 content"));
}

TEST_F(InventoryTest, APatchOfAnyNameChangesTheInode) {
  put("a", file("content"));
  ASSERT_TRUE(inventory().link("b", "a"));
  ASSERT_TRUE(inventory().patch("b", {.uid = 9}, {}));
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [a=257 b=257]", "5:257 /a,/b 100644 9 content"));
}

TEST_F(InventoryTest, LinksToNothingToDirectoriesAndInCirclesAreErrors) {
  using Say = void (*)(Inventory&);
  for (Say say : {Say([](Inventory& in) { (void)in.link("a", "nothing"); }),
                  Say([](Inventory& in) { (void)in.put("d", directory()), (void)in.link("a", "d"); }),
                  Say([](Inventory& in) { (void)in.link("a", "b"), (void)in.link("b", "a"); }),
                  Say([](Inventory& in) { (void)in.link("a", "a"); })}) {
    declare({});
    say(inventory());
    auto layout = finish();
    ASSERT_FALSE(layout);
    EXPECT_TRUE(layout.error().is(err::source_link_target)) << layout.error().message();
  }
}

TEST_F(InventoryTest, SourcesKeysJoinNamesWithoutOneBeingTheTarget) {
  const LinkKey key{1, 2, 3};
  Entry entry = file("content");
  entry.link_key = &key;
  put("b/x", entry);
  put("a/x", entry);
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [a=257 b=258]", "5:257 /a 40755 0 [x=259]",
                                   "5:258 /b 40755 0 [x=259]", "5:259 /a/x,/b/x 100644 0 content"));
}

TEST_F(InventoryTest, TokensThatNothingNamesGoBack) {
  put_stored("replaced", "1");
  put_stored("replaced", "2");
  put_stored("d/removed", "3");
  put_stored("kept", "4");
  inventory().begin_layer();
  ASSERT_TRUE(inventory().remove("d"));
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [kept=257 replaced=258]", "5:257 /kept 100644 0 4",
                                   "5:258 /replaced 100644 0 2"));
  EXPECT_THAT(store_.released, ::testing::UnorderedElementsAre("1", "3"));
}

TEST_F(InventoryTest, ATokenThatAnotherNameStillHasStays) {
  put_stored("a", "1");
  ASSERT_TRUE(inventory().link("b", "a"));
  put_stored("a", "2");
  put_stored("c", "3");
  ASSERT_TRUE(inventory().link("d/e", "c"));
  inventory().begin_layer();
  ASSERT_TRUE(inventory().remove("c"));
  ASSERT_TRUE(inventory().remove("d"));
  EXPECT_THAT(lines(),
              ElementsAre("5:256 / 40755 0 [a=257 b=258]", "5:257 /a 100644 0 2", "5:258 /b 100644 0 1"));
  EXPECT_THAT(store_.released, ElementsAre("3"));
}

TEST_F(InventoryTest, SubvolumesHaveInodesOfTheirOwn) {
  declare({.subvolumes = {{.path = "home/user"}, {.path = "home", .readonly = true}, {.path = "var/lib/db"}},
           .default_subvolume = "home"});
  put("home", directory(1));
  put("home/f", file("1"));
  put("home/user/f", file("2"));
  put("top", file("3"));
  Layout layout = finish().value();
  EXPECT_THAT(walk_lines(layout),
              ElementsAre("5:256 / 40755 0 [home=subvolume-256 top=257 var=258]", "5:257 /top 100644 0 3",
                          "5:258 /var 40755 0 [lib=259]", "5:259 /var/lib 40755 0 [db=subvolume-258]",
                          "256:256 / 40755 1 [f=257 user=subvolume-257]", "256:257 /f 100644 0 1",
                          "257:256 / 40755 0 [f=257]", "257:257 /f 100644 0 2", "258:256 / 40755 0 []"));
  const auto& subvolumes = layout.subvolumes();
  ASSERT_EQ(subvolumes.size(), 4u);
  EXPECT_EQ(subvolumes[1].path, "/home");
  EXPECT_TRUE(subvolumes[1].readonly && subvolumes[1].is_default && !subvolumes[0].is_default);
  EXPECT_EQ(subvolumes[2].parent, 1u);
  EXPECT_EQ(subvolumes[2].name, "user");
  EXPECT_EQ(subvolumes[2].directory, 256u);
  EXPECT_EQ(subvolumes[2].index, 3u);
  EXPECT_EQ(subvolumes[3].directory, 259u);
}

TEST_F(InventoryTest, RemovingWhatASubvolumeIsInEmptiesItAndItStays) {
  declare({.subvolumes = {{.path = "d/s"}}});
  put("d/s", directory(5));
  put("d/s/f", file("1"));
  inventory().begin_layer();
  ASSERT_TRUE(inventory().remove("d"));
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [d=257]", "5:257 /d 40755 0 [s=subvolume-256]",
                                   "256:256 / 40755 0 []"));
}

TEST_F(InventoryTest, AFileWhereASubvolumeIsToBeIsAnError) {
  declare({.subvolumes = {{.path = "d/s"}}});
  EXPECT_TRUE(inventory().put("d/s", file("")).error().is(err::source_not_a_directory));
  EXPECT_TRUE(inventory().put("d", symlink("e")).error().is(err::source_not_a_directory));
  EXPECT_TRUE(inventory().link("d", "x").error().is(err::source_not_a_directory));
  EXPECT_TRUE(inventory().put("d/sibling", file("")));
}

TEST_F(InventoryTest, ASnapshotHasNoInodesOfItsOwn) {
  declare({.subvolumes = {{.path = "s"}, {.path = "snap", .readonly = true, .snapshot_of = "s"}}});
  put("s/f", file("1"));
  EXPECT_TRUE(inventory().put("snap/f", file("")).error().is(err::source_path_invalid));
  Layout layout = finish().value();
  EXPECT_THAT(walk_lines(layout), ElementsAre("5:256 / 40755 0 [s=subvolume-256 snap=subvolume-257]",
                                              "256:256 / 40755 0 [f=257]", "256:257 /f 100644 0 1"));
  EXPECT_EQ(layout.subvolumes()[2].snapshot_of, 1u);
}

TEST_F(InventoryTest, AHardLinkAcrossSubvolumesBecomesACopyThatSharesItsData) {
  declare({.subvolumes = {{.path = "s"}}});
  put_stored("a", "data");
  ASSERT_TRUE(inventory().link("s/b", "a"));
  ASSERT_TRUE(inventory().link("s/c", "a"));
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [a=257 s=subvolume-256]", "5:257 /a 100644 0 data",
                                   "256:256 / 40755 0 [b=257 c=257]", "256:257 /b,/c 100644 0 data"));
  EXPECT_THAT(store_.released, IsEmpty());
}

TEST_F(InventoryTest, DeclarationsThatContradictThemselvesAreRefused) {
  for (const Declarations& declarations : std::vector<Declarations>{
           {.subvolumes = {{.path = "a"}, {.path = "a"}}},
           {.subvolumes = {{.path = "a/"}}},
           {.subvolumes = {{.path = "../a"}}},
           {.subvolumes = {{.path = std::string(256, 'x')}}},
           {.subvolumes = {{.path = "a", .snapshot_of = "b"}}},
           {.subvolumes = {{.path = "a"}, {.path = "b", .snapshot_of = "a"}, {.path = "b/c"}}},
           {.subvolumes = {{.path = "a"},
                           {.path = "b", .snapshot_of = "a"},
                           {.path = "c", .snapshot_of = "b"}}},
           {.default_subvolume = "nowhere"}})
    EXPECT_FALSE(Inventory::create(options_, declarations));
}

TEST_F(InventoryTest, PropertiesHoldBelowUntilALongerRule) {
  const Properties zstd{.compression = CompressionChoice::zstd, .level = 3};
  const Properties raw{.nodatacow = true};
  declare({.subvolumes = {{.path = "s"}}, .properties = {{"s/db", raw}, {"s", zstd}, {"s/db/text", zstd}}});
  EXPECT_EQ(inventory().properties_at("t"), Properties());
  EXPECT_EQ(inventory().properties_at("s"), zstd);
  EXPECT_EQ(inventory().properties_at("s/x"), zstd);
  EXPECT_EQ(inventory().properties_at("s/db/x/y"), raw);
  EXPECT_EQ(inventory().properties_at("s/dbx"), zstd);
  EXPECT_EQ(inventory().properties_at("s/db/text"), zstd);
  put("s/db/x", file("1"));
  const Layout layout = finish().value();
  Walk walk = layout.walk();
  EXPECT_EQ(walk.next_subvolume().value()->id, 5u);
  EXPECT_EQ(walk.next().value()->properties, Properties());
  EXPECT_EQ(walk.next_subvolume().value()->id, 256u);
  EXPECT_EQ(walk.next().value()->properties, zstd);
  EXPECT_EQ(walk.next().value()->properties, raw);
  EXPECT_EQ(walk.next().value()->properties, raw);
  EXPECT_EQ(walk.next().value(), nullptr);
}

TEST_F(InventoryTest, AReproducibleImagesTimesComeFromItsEpoch) {
  options_.epoch = 1000;
  options_.default_time = {.seconds = 5000};
  Entry early = file("1"), late = file("2");
  early.attributes.mtime = {.seconds = 10, .nanoseconds = 7};
  late.attributes.mtime = {.seconds = 1000, .nanoseconds = 1};
  put("early", early);
  put("late", late);
  const Layout layout = finish().value();
  Walk walk = layout.walk();
  ASSERT_TRUE(walk.next_subvolume().value());
  for (Time mtime : {Time{1000}, Time{10, 7}, Time{1000}}) {
    const Inode* inode = walk.next().value();
    EXPECT_EQ(inode->attributes.mtime, mtime);
    EXPECT_EQ(inode->attributes.atime, Time{1000});
    EXPECT_EQ(inode->attributes.ctime, Time{1000});
    EXPECT_EQ(inode->attributes.otime, Time{1000});
  }
}

TEST_F(InventoryTest, ErrorsMayBeCountedAndLeftOut) {
  SkipSourceErrors errors{Logger()};
  options_.errors = &errors;
  ASSERT_TRUE(inventory().patch("missing", {.uid = 1}, {}));
  ASSERT_TRUE(inventory().link("l", "missing"));
  put("f", file("f"));
  put("f/below", file("never"));
  EXPECT_THAT(lines(), ElementsAre("5:256 / 40755 0 [f=257]", "5:257 /f 100644 0 f"));
  EXPECT_EQ(errors.count(), 3u);
}

TEST_F(InventoryTest, MoreNamesThanBtrfsAllowsAreAnError) {
  const LinkKey key{1, 2, 3};
  Entry entry = file("content");
  entry.link_key = &key;
  for (int i = 0; i < 65535; ++i) put(std::to_string(i), entry);
  EXPECT_TRUE(finish());
  declare({});
  for (int i = 0; i < 65536; ++i) put(std::to_string(i), entry);
  EXPECT_TRUE(finish().error().is(err::source_too_many_links));
}

TEST_F(InventoryTest, PathsAreCheckedByName) {
  EXPECT_TRUE(inventory().put(std::string(255, 'x'), file("")));
  EXPECT_TRUE(inventory().put("d/" + std::string(256, 'x'), file("")).error().is(err::source_name_too_long));
  for (std::string_view path :
       std::vector<std::string_view>{"/a", "a/", "a//b", "./a", "a/.", "..", "a/../b", {"a\0b", 3}})
    EXPECT_TRUE(inventory().put(path, file("")).error().is(err::source_path_invalid)) << path;
}

TEST_F(InventoryTest, PathsMayBeDeeperThanAnyCallTakes) {
  std::string path = "d";
  for (int i = 0; i < 5000; ++i) path += "/d";
  put(path, file("deep"));
  const Layout layout = finish().value();
  EXPECT_EQ(layout.subvolumes()[0].inodes, 5002u);
  Walk walk = layout.walk();
  ASSERT_TRUE(walk.next_subvolume().value());
  std::string last;
  while (const Inode* inode = walk.next().value()) last = inode->path;
  EXPECT_EQ(last, path);
}

TEST_F(InventoryTest, WalksAreIndependent) {
  for (int i = 0; i < 100; ++i) put(fmt::format("{}/{}", i % 10, i), file("x"));
  const Layout layout = finish().value();
  Walk one = layout.walk();
  ASSERT_TRUE(one.next_subvolume().value());
  for (int i = 0; i < 50; ++i) ASSERT_TRUE(one.next().value());
  EXPECT_EQ(walk_lines(layout).size(), 111u);
  ASSERT_TRUE(one.next().value());
}

}  // namespace
}  // namespace karst::btrfs::build

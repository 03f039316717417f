// Metadata as text and back.
#include "thin/tool/restore.h"

#include <gtest/gtest.h>

#include "thin/format/errors.h"
#include "thin/tool/testing_pools.h"

namespace karst::thin {
namespace {

using namespace testing;

// A pool of one device with what stands between its tags.
std::string pool_xml(const std::string& mappings, const std::string& before = "") {
  return "<superblock uuid=\"\" time=\"3\" transaction=\"5\" flags=\"0\" version=\"2\" "
         "data_block_size=\"128\" "
         "nr_data_blocks=\"5000\">\n" +
         before +
         "  <device dev_id=\"1\" mapped_blocks=\"0\" transaction=\"2\" creation_time=\"0\" "
         "snap_time=\"1\">\n" +
         mappings + "  </device>\n</superblock>\n";
}

// TH-001: what is restored says the same as what was dumped, and is consistent.
TEST(ThinRestore, GivesBackWhatWasDumped) {
  const auto pool = make_pool();
  const std::string text = dump_text(*pool).value();
  const auto restored = blank_metadata();
  EXPECT_EQ(restore_text(text, *restored).value().devices, 5u);
  EXPECT_EQ(dump_text(*restored).value(), text);
  EXPECT_TRUE(check(*restored).value().report.good);
}

// What is held for readers says what the pool said then.
TEST(ThinDump, ReadsTheMetadataSnapshot) {
  const std::string then = dump_text(*make_pool()).value();
  const auto disk = make_pool({.metadata_snapshot = true});
  EXPECT_NE(dump_text(*disk).value(), then);
  EXPECT_EQ(dump_text(*disk, {.snapshot = true}).value(), then);
  const MetadataBlock held{superblock_of(*disk).held_root.value()};
  EXPECT_EQ(dump_text(*disk, {.snapshot = true, .snapshot_at = held}).value(), then);
  EXPECT_FALSE(dump_text(*disk, {.snapshot = true, .snapshot_at = MetadataBlock{raw(held) + 1}}));
  EXPECT_FALSE(dump_text(*make_pool(), {.snapshot = true}));
}

TEST(ThinRestore, IsOpenedAsAPool) {
  const auto restored = blank_metadata();
  ASSERT_TRUE(restore_text(dump_text(*make_pool()).value(), *restored));
  cache::Cache cache({.limit = 4 << 20});
  const auto pool = PoolMetadata::open(*restored, cache, Opening::for_writing).value();
  const auto device = pool->open_device(1).value();
  EXPECT_EQ(pool->details(device->id())->mapped_blocks, 2000u);
  EXPECT_TRUE(pool->delete_device(3));
  class NoData final : public CommitSteps {
    Result<void> flush_data() override { return {}; }
    void settle() override {}
  } no_data;
  EXPECT_TRUE(pool->commit(no_data));
  EXPECT_TRUE(check(*restored).value().report.good);
}

// Leaves of a definition are shared, whatever else the devices have before and after.
TEST(ThinRestore, SharesDefinitions) {
  const std::string def =
      "<def name=\"a\"><range_mapping origin_begin=\"1000\" data_begin=\"0\" length=\"2000\" "
      "time=\"0\"/></def>\n"
      "<def name=\"unused\"><range_mapping origin_begin=\"0\" data_begin=\"4000\" length=\"300\" "
      "time=\"0\"/></def>\n";
  const std::string other =
      "<device dev_id=\"0\" mapped_blocks=\"2000\" transaction=\"2\" creation_time=\"0\" snap_time=\"1\">"
      "<ref name=\"a\"/></device>\n";
  for (const int before : {0, 1, 83, 84, 252, 300})
    for (const int after : {0, 1, 83, 500}) {
      const auto range = [](int begin, int data, int length) {
        return length == 0
                   ? std::string()
                   : fmt::format(
                         "<range_mapping origin_begin=\"{}\" data_begin=\"{}\" length=\"{}\" time=\"1\"/>",
                         begin, data, length);
      };
      const auto disk = blank_metadata();
      const auto report = restore_text(
          pool_xml(range(0, 2500, before) + "<ref name=\"a\"/>" + range(5000, 3000, after), def + other),
          *disk);
      ASSERT_TRUE(report) << report.error().message();
      EXPECT_EQ(report->mappings, 4000u + before + after);
      EXPECT_LT(report->metadata_blocks, 9u + 9 + 7 + 2);
      const auto checked = check(*disk).value();
      EXPECT_TRUE(checked.report.good) << before << " " << after;
    }
}

TEST(ThinRestore, RefusesWhatIsNotRightWithItsLine) {
  const std::pair<std::string, const char*> wrong[] = {
      {"<single_mapping origin_block=\"5\" data_block=\"5000\" time=\"0\"/>",
       "beyond the end of the data device"},
      {"<range_mapping origin_begin=\"5\" data_begin=\"4999\" length=\"2\" time=\"0\"/>", "beyond the end"},
      {"<range_mapping origin_begin=\"5\" data_begin=\"1\" length=\"18446744073709551615\" time=\"0\"/>",
       "beyond"},
      {"<range_mapping origin_begin=\"5\" data_begin=\"1\" length=\"0\" time=\"0\"/>", "of no block"},
      {"<single_mapping origin_block=\"5\" data_block=\"1\"/>", "without attribute 'time'"},
      {"<single_mapping origin_block=\"5\" data_block=\"1\" time=\"0\" x=\"1\"/>", "unknown attribute 'x'"},
      {"<single_mapping origin_block=\"-5\" data_block=\"1\" time=\"0\"/>",
       "'-5' of attribute 'origin_block'"},
      {"<single_mapping origin_block=\"5\" data_block=\"1\" time=\"99999999\"/>", "time that does not fit"},
      {"<simple_mapping/>", "<simple_mapping> is unknown"},
      {"<ref name=\"x\"/>", "definition 'x' is not there"},
      {"<device/>", "not at its place"},
      {"words", "text between elements"},
      {"&some;", "not well-formed"},
  };
  for (const auto& [mapping, message] : wrong) {
    const auto disk = blank_metadata();
    const auto done = restore_text(
        pool_xml("<single_mapping origin_block=\"4\" data_block=\"0\" time=\"0\"/>\n" + mapping + "\n"),
        *disk);
    ASSERT_FALSE(done) << mapping;
    EXPECT_TRUE(done.error().is(err::invalid));
    EXPECT_NE(done.error().message().find(message), std::string::npos) << done.error().message();
    EXPECT_NE(done.error().message().find("line 4"), std::string::npos) << done.error().message();
    EXPECT_FALSE(dump_text(*disk)) << "no pool is left behind";
  }
  const auto disk = blank_metadata();
  const std::string unordered = pool_xml(
      "<single_mapping origin_block=\"4\" data_block=\"0\" time=\"0\"/>\n"
      "<single_mapping origin_block=\"4\" data_block=\"1\" time=\"0\"/>\n");
  EXPECT_NE(restore_text(unordered, *disk).error().message().find("ascending"), std::string::npos);
}

TEST(ThinRestore, SaysWhereItDoesNotFit) {
  const auto disk = blank_metadata(8 * 4096);
  auto done = restore_text(
      pool_xml("<range_mapping origin_begin=\"0\" data_begin=\"0\" length=\"4000\" time=\"0\"/>"), *disk);
  ASSERT_FALSE(done);
  EXPECT_TRUE(done.error().is(err::no_space)) << done.error().message();
}

TEST(ThinRestore, LeavesWhatIsThereUntilItKnowsWhatToWrite) {
  const auto disk = make_pool();
  const std::string before = dump_text(*disk).value();
  EXPECT_FALSE(restore_text("<superblock uuid=\"\"/>", *disk));
  EXPECT_FALSE(restore_text("no XML", *disk));
  EXPECT_FALSE(repair(*blank_metadata(), *disk, {.data_block_size = 128}));
  EXPECT_EQ(dump_text(*disk).value(), before);
}

// Entities that blow up are not even looked at.
TEST(ThinRestore, RefusesDocumentTypes) {
  const auto disk = blank_metadata();
  EXPECT_FALSE(restore_text("<!DOCTYPE a [<!ENTITY b \"c\">]>\n" + pool_xml(""), *disk));
}

}  // namespace
}  // namespace karst::thin

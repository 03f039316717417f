// The table line of a pool and the moves between its modes: words and answers of a 6.12 kernel.
#include "thin/pool/features.h"

#include <gtest/gtest.h>

#include "thin/pool/mode.h"

namespace karst::thin {
namespace {

// TH-002: the seed's example among them.
TEST(PoolTable, ReadsWhatTheKernelReads) {
  const auto table = parse_pool_table("/dev/mapper/meta /dev/loop1 128 100").value();
  EXPECT_EQ(table.metadata, "/dev/mapper/meta");
  EXPECT_EQ(table.data, "/dev/loop1");
  EXPECT_EQ(table.block_sectors, 128);
  EXPECT_EQ(table.low_water_blocks, 100);
  EXPECT_EQ(table.features, PoolFeatures{});
  const auto all = parse_pool_table(
      "m d 128 0 5 read_only error_if_no_space no_discard_passdown ignore_discard skip_block_zeroing");
  const PoolFeatures expected{.read_only = true,
                              .zero_new_blocks = false,
                              .handle_discards = false,
                              .discard_passdown = false,
                              .error_if_no_space = true};
  EXPECT_EQ(all->features, expected);
  EXPECT_TRUE(parse_pool_table("m d 2097152 9999999 0"));
}

// TH-002
TEST(PoolTable, PrintsFeaturesInTheKernelsOrder) {
  EXPECT_EQ(table_text(parse_pool_table("m d 128 100").value()), "m d 128 100 0 ");
  EXPECT_EQ(
      table_text(parse_pool_table(
                     "m d 128 100 4 error_if_no_space no_discard_passdown ignore_discard skip_block_zeroing")
                     .value()),
      "m d 128 100 4 skip_block_zeroing ignore_discard no_discard_passdown error_if_no_space ");
}

// TH-002
TEST(PoolTable, RefusesInTheKernelsWords) {
  struct Case {
    const char* tail;
    const char* words;
  };
  const Case cases[] = {
      {"64 0", "Invalid block size"},
      {"192 0", "Invalid block size"},
      {"129 0", "Invalid block size"},
      {"2097280 0", "Invalid block size"},
      {"0 0", "Invalid block size"},
      {"x 0", "Invalid block size"},
      {"128 -1", "Invalid low water mark"},
      {"128 x", "Invalid low water mark"},
      {"128", "Invalid argument count"},
      {"", "Invalid argument count"},
      {"128 0 1 bogus", "Unrecognised pool feature requested"},
      {"128 0 6 a", "Invalid number of pool feature arguments"},
      {"128 0 2 read_only", "Invalid number of pool feature arguments"},
  };
  for (const Case& c : cases) {
    const auto table = parse_pool_table(std::string("/dev/mapper/meta /dev/loop1 ") + c.tail);
    ASSERT_FALSE(table) << c.tail;
    EXPECT_EQ(table.error().what(), c.words) << c.tail;
    EXPECT_TRUE(table.error().is(err::invalid));
  }
}

// TH-030: every move, asked for with and without the need of a check.
TEST(PoolModes, MoveByOneTable) {
  using enum PoolMode;
  struct Row {
    PoolMode from, wish, to, to_if_check;
  };
  const Row rows[] = {
      {write, write, write, read_only},
      {write, out_of_data_space, out_of_data_space, out_of_data_space},
      {write, out_of_metadata_space, out_of_metadata_space, out_of_metadata_space},
      {write, read_only, read_only, read_only},
      {write, fail, fail, fail},
      {out_of_data_space, write, write, out_of_data_space},
      {out_of_data_space, out_of_metadata_space, out_of_metadata_space, out_of_metadata_space},
      {out_of_data_space, read_only, read_only, read_only},
      {out_of_metadata_space, write, write, out_of_metadata_space},
      {out_of_metadata_space, out_of_data_space, out_of_metadata_space, out_of_metadata_space},
      {out_of_metadata_space, fail, fail, fail},
      {read_only, write, write, read_only},
      {read_only, out_of_data_space, read_only, read_only},
      {read_only, out_of_metadata_space, read_only, read_only},
      {read_only, fail, fail, fail},
      {fail, write, fail, fail},
      {fail, read_only, fail, fail},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(next_mode(row.from, row.wish, false), row.to)
        << describe(row.from, false) << " → " << describe(row.wish, false);
    EXPECT_EQ(next_mode(row.from, row.wish, true), row.to_if_check)
        << describe(row.from, false) << " → " << describe(row.wish, false);
  }
}

}  // namespace
}  // namespace karst::thin

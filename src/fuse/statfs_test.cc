#include "fuse/statfs.h"

#include <gtest/gtest.h>

#include "btrfs/tool/testing_image.h"

namespace karst::fuse {
namespace {

using btrfs::testing::Json;

std::string test_name(const ::testing::TestParamInfo<std::string>& image) {
  std::string name = image.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class StatfsOfEveryImage : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Images, StatfsOfEveryImage, ::testing::ValuesIn(btrfs::testing::image_names()),
                         test_name);

TEST_P(StatfsOfEveryImage, HasTheKernelsNumbers_BT034) {
  btrfs::testing::UnpackedImage files(GetParam());
  const Json kernel = files.info().value("kernel", Json::object());
  if (!kernel.contains("statfs")) GTEST_SKIP() << "was not mounted by a kernel";
  if (files.info()["log"]) GTEST_SKIP() << "the kernel counted what its replay had written";
  if (files.name() == "lost-tree-root")
    GTEST_SKIP() << "the trees that count space are older than the kernel's";
  cache::Cache cache;
  auto image = btrfs::Image::open(files.options(), cache, Logger());
  ASSERT_TRUE(image) << image.error().message();
  auto numbers = statfs_of((*image)->fs());
  ASSERT_TRUE(numbers) << numbers.error().message();
  const Json& expected = kernel["statfs"];
  EXPECT_EQ(numbers->f_bsize, expected["bsize"]);
  EXPECT_EQ(numbers->f_blocks, expected["blocks"]);
  EXPECT_EQ(numbers->f_bfree, expected["bfree"]);
  EXPECT_EQ(numbers->f_bavail, expected["bavail"]);
}

}  // namespace
}  // namespace karst::fuse

#include "fuse/mount_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace karst::fuse {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

MountOptions parsed(std::string_view text) {
  MountOptions options;
  auto result = parse_mount_options(text, options);
  EXPECT_TRUE(result) << result.error().message();
  return options;
}

std::string error_of(std::string_view text) {
  MountOptions options;
  auto result = parse_mount_options(text, options);
  return result ? "none" : result.error().message();
}

TEST(MountOptions, NothingIsTheDefault_BT034) {
  for (const char* text : {"", ",", "ro", "defaults", "ro,,defaults"}) {
    MountOptions options = parsed(text);
    EXPECT_FALSE(options.subvol || options.subvolid || options.degraded || options.allow_other ||
                 options.threads);
    EXPECT_TRUE(options.replay_log);
    EXPECT_THAT(options.kernel_flags, IsEmpty());
  }
}

TEST(MountOptions, NamesASubvolumeByPathAndById_BT034) {
  EXPECT_EQ(parsed("ro,subvol=@/home").subvol, "@/home");
  EXPECT_EQ(parsed("subvolid=256").subvolid, 256u);
  EXPECT_EQ(parsed("subvolid=0x100").subvolid, 256u);
  EXPECT_EQ(parsed("subvolid=0").subvolid, 0u);
  MountOptions both = parsed("subvol=/@,subvolid=256");
  EXPECT_EQ(both.subvol, "/@");
  EXPECT_EQ(both.subvolid, 256u);
}

TEST(MountOptions, CollectsDevicesOverSeveralArguments) {
  MountOptions options = parsed("device=/dev/sdb,device=/dev/sdc");
  ASSERT_TRUE(parse_mount_options("device=disk.img", options));
  EXPECT_THAT(options.devices, ElementsAre("/dev/sdb", "/dev/sdc", "disk.img"));
}

TEST(MountOptions, AllWaysToLeaveTheLogAlone_BT034) {
  for (const char* text :
       {"norecovery", "nologreplay", "rescue=nologreplay", "rescue=nologreplay:nologreplay"})
    EXPECT_FALSE(parsed(text).replay_log) << text;
}

TEST(MountOptions, OursHaveValues) {
  MountOptions options =
      parsed("degraded,allow_other,default_permissions,noacl,threads=3,cache-size=64M,fsname=disk,subtype=x");
  EXPECT_TRUE(options.degraded && options.allow_other && options.default_permissions && !options.acl);
  EXPECT_EQ(options.threads, 3u);
  EXPECT_EQ(options.cache_size, 64u << 20);
  EXPECT_EQ(options.fsname, "disk");
  EXPECT_EQ(options.subtype, "x");
}

TEST(MountOptions, CommasInValuesAreEscaped) {
  EXPECT_EQ(parsed("subvol=a\\,b\\\\c,degraded").subvol, "a,b\\c");
  EXPECT_TRUE(parsed("subvol=a\\,b,degraded").degraded);
  EXPECT_EQ(parsed("subvol=a\\b").subvol, "a\\b");
}

TEST(MountOptions, KernelFlagsAreHandedOn) {
  EXPECT_THAT(parsed("nosuid,noexec,noatime").kernel_flags, ElementsAre("nosuid", "noexec", "noatime"));
}

TEST(MountOptions, TakesALineOfFstabMadeForTheKernel_BT034) {
  MountOptions options = parsed(
      "defaults,noauto,user,_netdev,nofail,x-systemd.automount,X-mount.mkdir=0755,comment=x,relatime,ssd,"
      "discard=async,"
      "compress=zstd:3,compress-force,space_cache=v2,autodefrag,commit=60,thread_pool=4,subvol=/@");
  EXPECT_EQ(options.subvol, "/@");
  EXPECT_THAT(options.kernel_flags, IsEmpty());
}

TEST(MountOptions, WritingIsRefusedClearly) {
  MountOptions options;
  auto result = parse_mount_options("rw", options);
  ASSERT_FALSE(result);
  EXPECT_TRUE(result.error().is(err::read_only));
  EXPECT_THAT(result.error().message(), HasSubstr("mounting for writing is not supported yet"));
}

TEST(MountOptions, WhatIsWrongIsNamed_BT034) {
  EXPECT_THAT(error_of("ro,frobnicate,degraded"), HasSubstr("unknown mount option 'frobnicate'"));
  EXPECT_THAT(error_of("frobnicate=1"), HasSubstr("'frobnicate=1'"));
  EXPECT_THAT(error_of("subvolid=ten"), HasSubstr("'subvolid=ten': not a number"));
  EXPECT_THAT(error_of("subvolid=99999999999999999999"), HasSubstr("'subvolid="));
  EXPECT_THAT(error_of("subvol"), HasSubstr("'subvol' needs a value"));
  EXPECT_THAT(error_of("subvol="), HasSubstr("'subvol' needs a value"));
  EXPECT_THAT(error_of("degraded=1"), HasSubstr("'degraded' takes no value"));
  EXPECT_THAT(error_of("threads=0"), HasSubstr("must be from 1 to 256"));
  EXPECT_THAT(error_of("cache-size=lots"), HasSubstr("'cache-size=lots'"));
  EXPECT_THAT(error_of("cache-size=1023K"), HasSubstr("at least 1M"));
  EXPECT_THAT(error_of("rescue=all"), HasSubstr("'all' is not supported"));
}

}  // namespace
}  // namespace karst::fuse

// Pools in files: names, growing, and what a crash between two steps leaves.
#include "thin/home/home.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "thin/format/errors.h"
#include "thin/home/command.h"

namespace karst::thin {
namespace {

constexpr uint64_t mib = 1 << 20;

class HomeTest : public testing::Test {
 protected:
  void SetUp() override {
    const char* directory = std::getenv("TMPDIR");
    std::string pattern = std::string(directory != nullptr ? directory : "/tmp") + "/karst-home-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path = directory_ + "/pool.karst";
  }
  void TearDown() override {
    home.reset();
    for (const std::string& file : {path, directory_ + "/m", directory_ + "/d"}) ::unlink(file.c_str());
    ::rmdir(directory_.c_str());
  }
  void create(NewPool wanted) {
    home.reset();
    auto made = Home::create(path, wanted, options);
    ASSERT_TRUE(made) << made.error().message();
    home = std::move(*made);
  }
  void reopen() {
    home.reset();
    auto opened = Home::open(path, options);
    ASSERT_TRUE(opened) << opened.error().message();
    home = std::move(*opened);
  }
  nlohmann::ordered_json ask(const char* request) {
    auto answer = execute(*home, nlohmann::ordered_json::parse(request));
    EXPECT_TRUE(answer) << answer.error().message();
    return answer ? *answer : nlohmann::ordered_json();
  }

  std::string directory_, path;
  HomeOptions options{.timer = false};
  std::unique_ptr<Home> home;
  std::vector<std::byte> bytes = std::vector<std::byte>(4096, std::byte{7});
};

TEST_F(HomeTest, VolumesAndSnapshotsHaveNamesAndKeepWhatIsWritten_TH003) {
  create({.data_size = 64 * mib});
  ASSERT_TRUE(home->add_volume("root", 32 * mib, "", {}));
  {
    auto volume = home->open_volume(*home->volume("root")).value();
    ASSERT_TRUE(volume->write(mib, bytes));
  }
  ASSERT_TRUE(home->add_snapshot("root", "root@monday", true, {}));
  reopen();
  const auto snapshot = home->volume("root@monday");
  ASSERT_TRUE(snapshot);
  EXPECT_TRUE(snapshot->read_only);
  EXPECT_EQ(snapshot->snapshot_of, "root");
  EXPECT_EQ(home->volume("1")->name, "root@monday");
  std::vector<std::byte> found(4096);
  ASSERT_TRUE(home->open_volume(*snapshot).value()->read(mib, found));
  EXPECT_EQ(found, bytes);
  ASSERT_TRUE(home->remove_volume("root"));
  EXPECT_TRUE(home->volume("root").error().is(err::no_device));
  EXPECT_TRUE(home->add_volume("7", mib, "", {}).error().is(err::invalid));
  EXPECT_TRUE(home->add_volume("root@monday", mib, "", {}).error().is(err::exists));
}

// One pool, one writer.
TEST_F(HomeTest, ASecondWriterIsRefused) {
  create({.data_size = 64 * mib});
  auto second = Home::open(path, options);
  ASSERT_FALSE(second);
  EXPECT_TRUE(second.error().is(err::busy));
  home.reset();
  EXPECT_TRUE(Home::open(path, options));
}

// A name is written before its device is made, and stays until it is deleted.
TEST_F(HomeTest, WhatWasHalfDoneIsEndedOrForgotten) {
  create({.data_size = 64 * mib});
  ASSERT_TRUE(home->add_volume("kept", mib, "", {}));
  home.reset();
  {
    auto file = PoolFile::open(path, block::OpenMode::read_write).value();
    PoolDescription described = file->description();
    described.volumes[0].state = VolumeEntry::State::creating;  // made, and not yet said so
    described.volumes.push_back(
        {.id = 5, .name = "never", .size = mib, .state = VolumeEntry::State::creating});
    ASSERT_TRUE(file->save(described));
  }
  reopen();
  ASSERT_EQ(home->description().volumes.size(), 1);
  EXPECT_EQ(home->volume("kept")->state, VolumeEntry::State::ready);
  home.reset();
  {
    auto file = PoolFile::open(path, block::OpenMode::read_write).value();
    PoolDescription described = file->description();
    described.volumes[0].state = VolumeEntry::State::deleting;
    ASSERT_TRUE(file->save(described));
  }
  reopen();
  EXPECT_TRUE(home->description().volumes.empty());
  EXPECT_TRUE(home->pool().metadata().devices()->empty());
}

// A torn write of the description leaves the other copy.
TEST_F(HomeTest, ADamagedCopyOfTheDescriptionIsPassedOver) {
  create({.data_size = 64 * mib});
  ASSERT_TRUE(home->add_volume("root", mib, "", {}));
  for (const uint64_t at : {uint64_t{4200}, PoolFile::copy_size + 4200}) {
    home.reset();
    {
      auto file = block::FileDevice::open(path, block::OpenMode::read_write).value();
      std::vector<std::byte> sector(512);
      ASSERT_TRUE(file->read(at / 512 * 512, sector));
      sector[at % 512] ^= std::byte{1};
      ASSERT_TRUE(file->write(at / 512 * 512, sector));
    }
    auto opened = Home::open(path, options);
    ASSERT_TRUE(opened) << opened.error().message();
    home = std::move(*opened);
    // The older copy may know the volume as being made; it was made.
    EXPECT_TRUE(home->volume("root"));
    ASSERT_TRUE(home->add_volume(fmt::format("after-{}", at), mib, "", {}));
    ASSERT_TRUE(home->remove_volume(fmt::format("after-{}", at)));
  }
}

TEST_F(HomeTest, GrowsInPlace_TH036) {
  create({.data_size = 1 * mib});
  ASSERT_TRUE(home->add_volume("root", 32 * mib, "", {}));
  auto volume = home->open_volume(*home->volume("root")).value();
  ASSERT_TRUE(volume->write(0, bytes));
  EXPECT_EQ(ask(R"({"command": "status"})")["data_blocks"], 16);
  EXPECT_EQ(ask(R"({"command": "grow", "data_size": 4194304, "metadata_size": 134217728})")["data_blocks"],
            64);
  EXPECT_EQ(home->pool().status().space.metadata_blocks, 32768);
  for (uint64_t i = 0; i < 40; ++i) ASSERT_TRUE(volume->write(i * 65536, bytes));
  volume.reset();
  reopen();
  EXPECT_EQ(ask(R"({"command": "status"})")["data_blocks_free"], 24);
  EXPECT_FALSE(home->grow(mib, {}));
}

// TH-034, TH-035, TH-036: a pool whose metadata is full reads on, and grows back to writing.
TEST_F(HomeTest, GrowingMetadataBringsAFullPoolBack) {
  create({.data_size = 2048 * mib, .metadata_size = 512 << 10, .features = {.zero_new_blocks = false}});
  ASSERT_TRUE(home->add_volume("root", uint64_t{4096} * 1024 * mib, "", {}));
  auto volume = home->open_volume(*home->volume("root")).value();
  const auto place = [](uint64_t i) { return i * 37 % 29989 * 33 * 65536; };
  uint64_t written = 0;
  while (written < 29989 && volume->write(place(written), bytes)) ++written;
  ASSERT_LT(written, 29989);
  EXPECT_EQ(ask(R"({"command": "status"})")["mode"], "out_of_metadata_space");
  EXPECT_EQ(ask(R"({"command": "grow", "metadata_size": 4194304})")["mode"], "write");
  EXPECT_TRUE(volume->write(place(written), bytes));
  std::vector<std::byte> found(4096);
  ASSERT_TRUE(volume->read(place(written - 1), found));
  EXPECT_EQ(found, bytes);
}

// TH-001: devices of their own are as dm-thin has them, and are taken over with what they have.
TEST_F(HomeTest, DevicesThatHoldAPoolAreTakenOver) {
  const std::string metadata = directory_ + "/m", data = directory_ + "/d";
  ASSERT_TRUE(block::FileDevice::create(metadata, 4 * mib));
  ASSERT_TRUE(block::FileDevice::create(data, 64 * mib));
  create({.metadata = metadata, .data = data});
  ASSERT_TRUE(home->add_volume("root", 32 * mib, "", DeviceId{9}));
  ASSERT_TRUE(home->open_volume(*home->volume("root")).value()->write(3 * 65536, bytes));
  home.reset();
  create({.metadata = metadata, .data = data, .replace = true});
  const auto volume = home->volume("thin-9");
  ASSERT_TRUE(volume);
  EXPECT_EQ(volume->size, 4 * 65536);
  home.reset();
  auto same = Home::create(directory_ + "/other", {.metadata = metadata, .data = metadata}, options);
  EXPECT_FALSE(same);
  ::unlink((directory_ + "/other").c_str());
}

TEST_F(HomeTest, MessagesAndNamesGoTogether_TH003) {
  create({.data_size = 64 * mib});
  EXPECT_TRUE(ask(R"({"command": "message", "text": "create_thin 3"})")["output"].is_null());
  EXPECT_EQ(home->volume("3")->name, "thin-3");
  ask(R"({"command": "message", "text": "delete 3"})");
  EXPECT_FALSE(home->volume("3"));
  EXPECT_FALSE(execute(*home, nlohmann::ordered_json::parse(R"({"command": "fly"})")));
  EXPECT_FALSE(execute(*home, nlohmann::ordered_json::parse(R"({"command": "volume-add", "size": "big"})")));
}

}  // namespace
}  // namespace karst::thin

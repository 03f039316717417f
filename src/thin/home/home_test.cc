// Pools in files: names, growing, and what a crash between two steps leaves.
#include "thin/home/home.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <thread>

#include "block/faulty_device.h"
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
    VolumeEntry kept = *file->description().volumes.find("kept");
    kept.state = VolumeEntry::State::creating;  // made, and not yet said so
    ASSERT_TRUE(file->store().put(kept));
    ASSERT_TRUE(
        file->store().put({.id = 5, .name = "never", .size = mib, .state = VolumeEntry::State::creating}));
  }
  reopen();
  ASSERT_EQ(home->description().volumes.size(), 1);
  EXPECT_EQ(home->volume("kept")->state, VolumeEntry::State::ready);
  home.reset();
  {
    auto file = PoolFile::open(path, block::OpenMode::read_write).value();
    VolumeEntry kept = *file->description().volumes.find("kept");
    kept.state = VolumeEntry::State::deleting;
    ASSERT_TRUE(file->store().put(kept));
  }
  reopen();
  EXPECT_TRUE(home->description().volumes.empty());
  EXPECT_TRUE(home->pool().metadata().devices()->empty());
}

// Of a description that is damaged there is another copy; a volume whose name was lost has another.
TEST_F(HomeTest, ADamagedCopyOfTheDescriptionIsPassedOver) {
  create({.data_size = 64 * mib});
  ASSERT_TRUE(home->add_volume("root", mib, "", {}));
  ASSERT_TRUE(home->grow(65 * mib, {}));
  ASSERT_TRUE(home->add_volume("later", mib, "", {}));
  ASSERT_TRUE(home->open_volume(*home->volume("later")).value()->write(0, bytes));
  for (const uint64_t at : {uint64_t{4200}, DescriptionStore::copy_size + 4200}) {
    home.reset();
    auto file = block::FileDevice::open(path, block::OpenMode::read_write).value();
    std::vector<std::byte> sector(512);
    ASSERT_TRUE(file->read(at / 512 * 512, sector));
    sector[at % 512] ^= std::byte{1};
    ASSERT_TRUE(file->write(at / 512 * 512, sector));
    file.reset();
    {
      auto opened = Home::open(path, options);
      ASSERT_TRUE(opened) << opened.error().message();
      EXPECT_TRUE((*opened)->volume("root"));
      const auto later = (*opened)->volume("later");
      ASSERT_TRUE(later);
      auto found = bytes;
      std::ranges::fill(found, std::byte{0});
      ASSERT_TRUE((*opened)->open_volume(*later).value()->read(0, found));
      EXPECT_EQ(found, bytes);
    }
    file = block::FileDevice::open(path, block::OpenMode::read_write).value();
    sector[at % 512] ^= std::byte{1};
    ASSERT_TRUE(file->write(at / 512 * 512, sector));
    file.reset();
    reopen();
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

TEST_F(HomeTest, IdsThatAreNoneAreRefusedAndLeaveNothing) {
  create({.data_size = 64 * mib});
  for (const DeviceId id : {max_device_id + 1, ~DeviceId{0}})
    EXPECT_TRUE(home->add_volume("x", mib, "", id).error().is(err::invalid));
  ASSERT_TRUE(home->add_volume("x", mib, "", max_device_id));
  EXPECT_TRUE(home->add_snapshot("x", "y", false, max_device_id + 1).error().is(err::invalid));
  reopen();
  EXPECT_EQ(home->description().volumes.size(), 1u);
}

// What messages make: a snapshot is as large as its origin; whatever names there are, devices get one.
TEST_F(HomeTest, DevicesMadeByMessagesHaveTheirOriginsSize) {
  create({.data_size = 64 * mib});
  ASSERT_TRUE(home->add_volume("thin-7", 8 * mib, "", DeviceId{0}));
  ASSERT_TRUE(home->message("create_snap 1 0"));
  EXPECT_EQ(home->volume("1")->size, 8 * mib);
  EXPECT_EQ(home->volume("1")->snapshot_of, "thin-7");
  ASSERT_TRUE(home->message("create_thin 7"));
  EXPECT_EQ(home->volume("7")->name, "thin-7-2");
  ASSERT_TRUE(home->message("set_transaction_id 0 5"));
  reopen();
  EXPECT_EQ(home->description().volumes.size(), 3u);
}

// A volume that is in use is not deleted, not even after a crash while it was asked for; one whose device is
// gone is no volume.
TEST_F(HomeTest, WhatIsInUseIsNotWrittenAsBeingDeleted) {
  create({.data_size = 64 * mib});
  ASSERT_TRUE(home->add_volume("used", mib, "", {}));
  ASSERT_TRUE(home->add_volume("gone", mib, "", {}));
  {
    const auto volume = home->open_volume(*home->volume("used")).value();
    const auto journal = [&] {
      std::vector<std::byte> read(1 << 16);
      const auto file = block::FileDevice::open(path, block::OpenMode::read_only).value();
      EXPECT_TRUE(file->read(DescriptionStore::journal_at, read));
      return read;
    };
    const auto before = journal();
    EXPECT_TRUE(home->remove_volume("used").error().is(err::busy));
    EXPECT_EQ(journal(), before);
  }
  ASSERT_TRUE(home->pool().delete_device(home->volume("gone")->id));
  EXPECT_EQ(ask(R"({"command": "volume-list"})")["volumes"].size(), 1u);
  reopen();
  EXPECT_TRUE(home->volume("used"));
  EXPECT_FALSE(home->volume("gone"));
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

// TH-026: a pool is there when all of it is: of several that open it at once one has it, whole, and the
// others are told; an opening that fails half way leaves nothing behind, not even its lock.
TEST_F(HomeTest, OpeningAtOnceGivesOneWholePool_TH026) {
  create({.data_size = 64 * mib});
  ASSERT_TRUE(home->add_volume("root", 32 * mib, "", {}));
  home.reset();
  for (unsigned round = 0; round < 20; ++round) {
    std::vector<std::thread> threads;
    std::atomic<unsigned> whole{0}, waiting{4};
    for (unsigned i = 0; i < 4; ++i)
      threads.emplace_back([&] {
        const auto opened = Home::open(path, options);
        if (opened) {
          const auto volume = (*opened)->open_volume(*(*opened)->volume("root"));
          if (volume && (*volume)->write(0, bytes)) ++whole;
        } else {
          EXPECT_TRUE(opened.error().is(err::busy)) << opened.error().message();
        }
        // Held until all have tried.
        --waiting;
        while (waiting != 0) std::this_thread::yield();
      });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(whole, 1u);
  }
}

// TH-026
TEST_F(HomeTest, AnOpeningThatFailsLeavesNoLock_TH026) {
  create({.data_size = 64 * mib});
  home.reset();
  {
    // Metadata that cannot be read: its superblock, then a block further on.
    auto file = block::FileDevice::open(path, block::OpenMode::read_write).value();
    std::vector<std::byte> super(4096), damaged(4096, std::byte{1});
    ASSERT_TRUE(file->read(PoolFile::metadata_at, super));
    ASSERT_TRUE(file->write(PoolFile::metadata_at, damaged));
    for (int i = 0; i < 3; ++i) {
      const auto opened = Home::open(path, options);
      ASSERT_FALSE(opened);
      EXPECT_FALSE(opened.error().is(err::busy)) << opened.error().message();
    }
    ASSERT_TRUE(file->write(PoolFile::metadata_at, super));
  }
  reopen();
}

// ---- importing

class ImportTest : public HomeTest {
 protected:
  void SetUp() override {
    HomeTest::SetUp();
    image = directory_ + "/d";
  }
  // Bytes here and there, and holes.
  void make_image(uint64_t size) {
    auto file = block::FileDevice::create(image, size).value();
    for (uint64_t at = 0; at + 4096 <= size; at += 3 * mib) ASSERT_TRUE(file->write(at, bytes));
  }
  void expect_image(block::Device& volume) {
    const auto file = block::FileDevice::open(image, block::OpenMode::read_only).value();
    std::vector<std::byte> a(file->size()), b(file->size());
    ASSERT_TRUE(file->read(0, a));
    ASSERT_TRUE(volume.read(0, b));
    EXPECT_EQ(a, b);
  }
  std::string image;
};

TEST_F(ImportTest, FillsAVolumeAndMapsWhatIsNotZero) {
  make_image(20 * mib);
  create({.data_size = 64 * mib});
  const auto volume = ask((R"({"command": "volume-add", "name": "root", "from": ")" + image + "\"}").c_str());
  EXPECT_EQ(volume["size"], 20 * mib);
  EXPECT_EQ(volume["mapped"], 7 * 65536);
  ask((R"({"command": "volume-add", "name": "larger", "size": 33554432, "format": "raw", "from": ")" + image +
       "\"}")
          .c_str());
  for (const char* name : {"root", "larger"}) {
    auto open = home->open_volume(*home->volume(name)).value();
    expect_image(*open);
  }
  reopen();
  EXPECT_EQ(home->volume("larger")->size, 32 * mib);
  const auto small = home->import_volume({.name = "small", .from = image, .size = mib});
  EXPECT_TRUE(small.error().is(err::invalid)) << small.error().message();
  EXPECT_TRUE(home->import_volume({.name = "root", .from = image}).error().is(err::exists));
  EXPECT_TRUE(home->import_volume({.name = "other", .from = "/no/such/image"}).error().is(err::not_found));
  EXPECT_EQ(home->description().volumes.size(), 2u);
}

// An image that cannot be read to its end, a pool that is full: no volume, and no block, is left of it.
TEST_F(ImportTest, WhatFailsLeavesNothing) {
  make_image(20 * mib);
  NewPool wanted{.data_size = 64 * mib};
  wanted.features.error_if_no_space = true;
  for (const uint64_t nth : {1, 3}) {
    const auto below = std::make_shared<std::unique_ptr<block::Device>>();
    options.open = [&, below](std::string_view name, block::OpenMode mode,
                              block::FileOptions) -> Result<std::unique_ptr<block::Device>> {
      *below = TRY(block::FileDevice::open(std::string(name), mode));
      // The first read looks for the image's format.
      return std::make_unique<block::FaultyDevice>(
          **below, block::FaultPlan{.faults = {{.op = block::IoOp::read, .nth = nth + 1}}});
    };
    wanted.replace = true;
    create(wanted);
    const auto imported = home->import_volume({.name = "root", .from = image});
    ASSERT_FALSE(imported);
    EXPECT_TRUE(imported.error().is(err::io)) << imported.error().message();
    EXPECT_TRUE(home->description().volumes.empty());
    ASSERT_TRUE(home->pool().quiesce());
    EXPECT_EQ(home->pool().status().space.data_available, home->pool().status().space.data_blocks);
  }
  options.open = HomeOptions().open;
  wanted.data_size = 4 * 65536;
  create(wanted);
  const auto imported = home->import_volume({.name = "root", .from = image});
  ASSERT_FALSE(imported);
  EXPECT_TRUE(imported.error().is(err::no_space)) << imported.error().message();
  EXPECT_TRUE(home->description().volumes.empty());
  ASSERT_TRUE(home->pool().quiesce());
  EXPECT_EQ(home->pool().status().space.data_available, 4u);
}

// Nobody sees a volume that is being filled; a crash in the middle leaves none; stop() ends it.
TEST_F(ImportTest, IsWholeOrNotThere) {
  make_image(20 * mib);
  std::function<void()> meanwhile;
  const auto below = std::make_shared<std::unique_ptr<block::Device>>();
  options.open = [&, below](std::string_view name, block::OpenMode mode,
                            block::FileOptions) -> Result<std::unique_ptr<block::Device>> {
    *below = TRY(block::FileDevice::open(std::string(name), mode));
    const auto reads = std::make_shared<std::atomic<unsigned>>(0);
    return std::make_unique<block::FaultyDevice>(**below, block::FaultPlan{.before = [&, reads](const auto&) {
      if (reads->fetch_add(1) == 4) meanwhile();
    }});
  };
  create({.data_size = 64 * mib});
  const std::string copy = directory_ + "/m";
  meanwhile = [&] {
    EXPECT_TRUE(home->volume("root").error().is(err::no_device));
    EXPECT_TRUE(home->volume("0").error().is(err::no_device));
    EXPECT_TRUE(home->add_volume("root", mib, "", {}).error().is(err::exists));
    EXPECT_TRUE(home->add_volume("other", mib, "", DeviceId{0}).error().is(err::exists));
    EXPECT_EQ(ask(R"({"command": "volume-list"})")["volumes"].size(), 0u);
    const auto importing = ask(R"({"command": "imports"})")["imports"];
    ASSERT_EQ(importing.size(), 1u);
    EXPECT_EQ(importing[0]["name"], "root");
    EXPECT_EQ(importing[0]["total"], 20 * mib);
    ASSERT_TRUE(home->pool().commit());
    ASSERT_EQ(std::system(("cp --sparse=always " + path + " " + copy).c_str()), 0);
  };
  ASSERT_TRUE(home->import_volume({.name = "root", .from = image}));
  // What a crash at that moment leaves.
  {
    const auto after = Home::open(copy, options);
    ASSERT_TRUE(after) << after.error().message();
    EXPECT_TRUE((*after)->description().volumes.empty());
    ASSERT_TRUE((*after)->pool().quiesce());
    EXPECT_EQ((*after)->pool().status().space.data_available, (*after)->pool().status().space.data_blocks);
  }
  meanwhile = [&] { home->stop(); };
  const auto stopped = home->import_volume({.name = "second", .from = image});
  ASSERT_FALSE(stopped);
  EXPECT_TRUE(stopped.error().is(err::cancelled)) << stopped.error().message();
  EXPECT_EQ(home->description().volumes.size(), 1u);
}

bool comes(FunctionRef<bool()> what) {
  for (unsigned i = 0; i < 20000; ++i) {
    if (what()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

// A source that nobody answers for.
class Hanging final : public block::Device {
 public:
  const std::string& name() const override { return name_; }
  uint64_t size() const override { return mib; }
  uint32_t block_size() const override { return 512; }
  bool writable() const override { return false; }
  void abandon() override {
    abandoned_.test_and_set();
    abandoned_.notify_all();
  }
  std::atomic<bool>* asked = nullptr;
  bool at_once = false;  // or when its format has been looked at

 protected:
  Result<void> perform(const block::IoRequest& request) override {
    if (request.length == 512 && !at_once) return {};  // the look at its format
    *asked = true;
    abandoned_.wait(false);
    return Error(err::io, "abandoned");
  }

 private:
  const std::string name_ = "hanging";
  std::atomic_flag abandoned_;
};

// Whoever wants it ended: by removing the volume, by going away, by ending the pool's service.
TEST_F(ImportTest, OfASourceThatHangsCanBeEnded) {
  std::atomic<bool> asked{false};
  bool at_once = false;
  options.open = [&](std::string_view, block::OpenMode,
                     block::FileOptions) -> Result<std::unique_ptr<block::Device>> {
    auto device = std::make_unique<Hanging>();
    device->asked = &asked;
    device->at_once = at_once;
    return device;
  };
  create({.data_size = 64 * mib});
  CancelSource client;
  const std::function<void()> ways[] = {[&] { ask(R"({"command": "volume-remove", "name": "root"})"); },
                                        [&] { ASSERT_TRUE(home->remove_volume("0")); },
                                        [&] { client.cancel(); }, [&] { home->stop(); }};
  for (size_t way = 0; way < 2 * std::size(ways); ++way) {
    // Before it has a volume there is only its name to end it by, and stop() is for good.
    if (way == 5 || way == 3) continue;
    const auto& end = ways[way % std::size(ways)];
    at_once = way >= std::size(ways);
    asked = false;
    client = CancelSource();
    Result<VolumeEntry> imported = VolumeEntry();
    std::thread importer(
        [&] { imported = home->import_volume({.name = "root", .from = "x"}, client.token()); });
    ASSERT_TRUE(comes([&] { return asked.load(); }));
    end();
    importer.join();
    ASSERT_FALSE(imported);
    EXPECT_TRUE(imported.error().is(err::cancelled)) << imported.error().message();
    EXPECT_TRUE(home->imports().empty());
    EXPECT_TRUE(home->description().volumes.empty());
    ASSERT_TRUE(home->pool().quiesce());
    EXPECT_EQ(home->pool().status().space.data_available, home->pool().status().space.data_blocks);
  }
}

// One that waits for space for ever, in a pool that was told to.
TEST_F(ImportTest, ThatWaitsForSpaceCanBeEnded) {
  make_image(20 * mib);
  create({.data_size = 4 * 65536, .no_space_timeout_seconds = 0});
  Result<VolumeEntry> imported = VolumeEntry();
  std::thread importer([&] { imported = home->import_volume({.name = "root", .from = image}); });
  ASSERT_TRUE(comes([&] { return home->pool().mode() == PoolMode::out_of_data_space; }));
  EXPECT_TRUE(home->remove_volume("root"));
  importer.join();
  ASSERT_FALSE(imported);
  EXPECT_TRUE(imported.error().is(err::cancelled)) << imported.error().message();
  ASSERT_TRUE(home->pool().quiesce());
  EXPECT_EQ(home->pool().status().space.data_available, 4u);
  EXPECT_EQ(home->pool().mode(), PoolMode::write);
}

}  // namespace
}  // namespace karst::thin

// What NBD servers may do, beside the contract of all devices (device_test.cc): several connections, exports
// that grow, servers that fail or go away.
#include "block/nbd_device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "block/copy.h"
#include "block/device_test_kinds.h"
#include "block/disk_image.h"
#include "block/nbd_helper.h"

#if KARST_LIBNBD

namespace karst::block {
namespace {

std::vector<std::byte> pattern(size_t length, unsigned seed) {
  std::vector<std::byte> bytes(length);
  for (size_t i = 0; i < length; ++i)
    bytes[i] = static_cast<std::byte>((i * 2654435761u + seed * 40503u) >> 7);
  return bytes;
}

class NbdTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string directory = "/tmp/karst-nbd-XXXXXX";
    ASSERT_NE(::mkdtemp(directory.data()), nullptr);
    directory_ = directory;
  }
  void TearDown() override {
    stop();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
  std::string path(const char* name) const { return directory_ + "/" + name; }
  std::string socket() const { return path("a socket"); }  // with what a URI has to spell

  void serve(std::vector<std::string> words) {
    ::unlink(socket().c_str());
    words.insert(words.begin(), {"nbdkit", "-f", "-U", socket()});
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    server_ = ::fork();
    ASSERT_GE(server_, 0);
    if (server_ == 0) {
      ::execvp("nbdkit", argv.data());
      ::_exit(127);
    }
    for (int i = 0; i < 1000 && ::access(socket().c_str(), F_OK) != 0; ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_EQ(::access(socket().c_str(), F_OK), 0) << "nbdkit does not listen";
  }
  void stop() {
    if (server_ <= 0) return;
    ::kill(server_, SIGKILL);
    ::waitpid(server_, nullptr, 0);
    server_ = -1;
  }
  std::string uri() const { return nbd_unix_uri(socket(), ""); }
  std::unique_ptr<Device> connect(OpenMode mode = OpenMode::read_write) {
    auto device = NbdDevice::connect(uri(), mode);
    EXPECT_TRUE(device) << device.error().message();
    return device ? std::move(*device) : nullptr;
  }

  std::string directory_;
  pid_t server_ = -1;
};

TEST_F(NbdTest, SpellsWhatAUriCannotHold) {
  EXPECT_EQ(nbd_unix_uri("/a b/c&d", "e#f/g"), "nbd+unix:///e%23f/g?socket=/a%20b/c%26d");
}

TEST_F(NbdTest, SeveralThreadsUseSeveralConnections) {
  serve({"memory", "16M", "--filter=delay", "delay-read=20ms"});
  const auto device = connect();
  ASSERT_NE(device, nullptr);
  ASSERT_TRUE(device->write(0, pattern(65536, 1)));
  const auto began = std::chrono::steady_clock::now();
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      std::vector<std::byte> bytes(65536);
      for (unsigned round = 0; round < 10; ++round) {
        ASSERT_TRUE(device->read(0, bytes));
        ASSERT_EQ(bytes, pattern(65536, 1));
      }
    });
  for (auto& thread : threads) thread.join();
  // 40 reads of 20 ms each: one after the other they would take 800 ms.
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(700));
}

// One large request is many pieces; they wait together.
TEST_F(NbdTest, PiecesOfARequestAreUnderWayTogether) {
  serve({"memory", "16M", "--filter=delay", "delay-read=20ms", "--filter=blocksize-policy",
         "blocksize-maximum=64K", "blocksize-minimum=1", "blocksize-preferred=4K",
         "blocksize-error-policy=error"});
  const auto device = connect();
  ASSERT_NE(device, nullptr);
  ASSERT_TRUE(device->write(0, pattern(4 << 20, 2)));
  std::vector<std::byte> bytes(4 << 20);
  const auto began = std::chrono::steady_clock::now();
  ASSERT_TRUE(device->read(0, bytes));
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(1000));  // of 64 × 20 ms
  EXPECT_EQ(bytes, pattern(4 << 20, 2));
}

TEST_F(NbdTest, SeesHowLargeAnExportHasBecome) {
  const std::string file = path("disk");
  ASSERT_EQ(::truncate(file.c_str(), 0), -1);
  std::ofstream(file).close();
  ASSERT_EQ(::truncate(file.c_str(), 1 << 20), 0);
  serve({"file", file});
  const auto device = connect();
  ASSERT_NE(device, nullptr);
  EXPECT_TRUE(device->resize(2 << 20).error().is(err::no_space));
  EXPECT_EQ(device->size(), 1u << 20);
  ASSERT_EQ(::truncate(file.c_str(), 2 << 20), 0);
  ASSERT_TRUE(device->resize(2 << 20));
  EXPECT_EQ(device->size(), 2u << 20);
  ASSERT_TRUE(device->write((2 << 20) - 4096, pattern(4096, 3)));
  std::vector<std::byte> bytes(4096);
  ASSERT_TRUE(device->read((2 << 20) - 4096, bytes));
  EXPECT_EQ(bytes, pattern(4096, 3));
}

TEST_F(NbdTest, ReadOnlyExportsAreNotWritten) {
  serve({"-r", "memory", "1M"});
  const auto device = NbdDevice::connect(uri(), OpenMode::read_write);
  ASSERT_FALSE(device);
  EXPECT_TRUE(device.error().is(err::read_only)) << device.error().message();
  const auto readable = connect(OpenMode::read_only);
  ASSERT_NE(readable, nullptr);
  EXPECT_TRUE(readable->write(0, pattern(512, 1)).error().is(err::read_only));
}

TEST_F(NbdTest, WhatTheServerRefusesIsTold) {
  serve({"memory", "1M", "--filter=error", "error=ENOSPC", "error-pwrite-rate=100%"});
  const auto device = connect();
  ASSERT_NE(device, nullptr);
  const auto written = device->write(0, pattern(4096, 1));
  ASSERT_FALSE(written);
  EXPECT_TRUE(written.error().is(err::no_space)) << written.error().message();
  EXPECT_NE(written.error().message().find("nbd+unix"), std::string::npos) << written.error().message();
  std::vector<std::byte> bytes(4096);
  EXPECT_TRUE(device->read(0, bytes));
}

TEST_F(NbdTest, AServerThatGoesAwayIsAnErrorAndNoHang) {
  serve({"memory", "1M"});
  const auto device = connect();
  ASSERT_NE(device, nullptr);
  ASSERT_TRUE(device->write(0, pattern(4096, 1)));
  stop();
  std::vector<std::byte> bytes(4096);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(device->read(0, bytes).error().is(err::io));
  EXPECT_TRUE(device->flush().error().is(err::io));
  EXPECT_TRUE(device->flush().error().is(err::io));
}

// What was not flushed may have gone with the server: one that listens again is not asked.
TEST_F(NbdTest, AServerThatComesBackIsNotAsked) {
  const std::string file = path("disk");
  std::ofstream(file).close();
  ASSERT_EQ(::truncate(file.c_str(), 1 << 20), 0);
  serve({"file", file, "--filter=delay", "delay-read=2000ms"});
  const auto device = connect();
  ASSERT_NE(device, nullptr);
  ASSERT_TRUE(device->write(0, pattern(4096, 1)));
  std::thread reader([&] {
    std::vector<std::byte> bytes(4096);
    EXPECT_TRUE(device->read(0, bytes).error().is(err::io));
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  stop();
  serve({"file", file});
  reader.join();
  EXPECT_TRUE(device->flush().error().is(err::io));
  EXPECT_TRUE(device->write(0, pattern(4096, 1)).error().is(err::io));
  EXPECT_TRUE(device->resize(1 << 20).error().is(err::io));
}

TEST_F(NbdTest, ResizesWhileItIsUsed) {
  for (const bool one_connection : {false, true}) {
    std::unique_ptr<Device> device;
    if (one_connection) {
      device = NbdDevice::serve({"nbdkit", "memory", "8M"}, "nbd", OpenMode::read_only).value();
    } else {
      serve({"memory", "8M"});
      device = connect(OpenMode::read_only);
    }
    std::atomic<bool> ended{false};
    std::vector<std::thread> readers;
    for (int i = 0; i < 6; ++i)
      readers.emplace_back([&] {
        std::vector<std::byte> bytes(4096);
        while (!ended) ASSERT_TRUE(device->read(0, bytes));
      });
    for (int i = 0; i < 20; ++i) {
      ASSERT_TRUE(device->resize(8 << 20));
      EXPECT_TRUE(device->resize(9 << 20).error().is(err::no_space));
    }
    ended = true;
    for (auto& reader : readers) reader.join();
    stop();
  }
}

TEST_F(NbdTest, AServerThatDoesNotStartIsTold) {
  for (const std::vector<std::string>& command :
       {std::vector<std::string>{"/no/such/server"}, {"nbdkit", "file", "/no/such/file"}, {"true"}}) {
    const auto device = NbdDevice::serve(command, "image", OpenMode::read_only);
    ASSERT_FALSE(device);
    EXPECT_NE(device.error().message().find("image"), std::string::npos) << device.error().message();
  }
}

using Runs = std::vector<std::tuple<uint64_t, uint64_t, bool>>;
Runs runs_of(Device& device, uint64_t offset, uint64_t length) {
  Runs runs;
  auto walked = device.extents(offset, length, [&](uint64_t at, uint64_t run, bool data) {
    runs.emplace_back(at, run, data);
    return true;
  });
  EXPECT_TRUE(walked) << walked.error().message();
  return runs;
}

// A server that does not answer, and the program around it, end soon when nobody needs them any more.
TEST_F(NbdTest, WhatIsAbandonedEndsWhateverHangs) {
  const auto hangs_in = [](Device& device) {
    std::atomic<bool> ended{false};
    std::thread reader([&] {
      std::vector<std::byte> bytes(4096);
      const auto read = device.read(0, bytes);
      EXPECT_FALSE(read);
      ended = true;
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_FALSE(ended);
    device.abandon();
    reader.join();
    std::vector<std::byte> bytes(4096);
    EXPECT_FALSE(device.read(0, bytes));
  };
  serve({"--filter=delay", "memory", "1M", "delay-read=3600"});
  const auto begin = std::chrono::steady_clock::now();
  hangs_in(*connect(OpenMode::read_only));
  {
    const auto helper = served_by({"nbdkit", "-f", "--filter=delay", "memory", "1M", "delay-read=3600"},
                                  "helper", OpenMode::read_only);
    ASSERT_TRUE(helper) << helper.error().message();
    hangs_in(**helper);
  }
  {
    // One that does not heed the signal that asks it to end.
    const auto deaf = served_by(
        {"sh", "-c", "trap '' TERM; sh -c 'LISTEN_PID=$$ exec nbdkit -f memory 1M' & wait; sleep 3600"},
        "deaf", OpenMode::read_only);
    ASSERT_TRUE(deaf) << deaf.error().message();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST_F(NbdTest, ExtentsAreTheServers) {
  serve({"memory", "1M"});
  const auto device = connect();
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(runs_of(*device, 0, 1 << 20), (Runs{{0, 1 << 20, false}}));
  ASSERT_TRUE(device->write(65536, pattern(65536, 1)));
  EXPECT_EQ(runs_of(*device, 512, (1 << 20) - 512),
            (Runs{{512, 65024, false}, {65536, 65536, true}, {131072, (1 << 20) - 131072, false}}));
}

TEST(Extents, OfAFileAreItsHoles) {
  testing_kinds::TemporaryFile file(1 << 20);
  const auto device = FileDevice::open(file.path(), OpenMode::read_write).value();
  EXPECT_EQ(runs_of(*device, 0, 1 << 20), (Runs{{0, 1 << 20, false}}));
  ASSERT_TRUE(device->write(65536, pattern(65536, 1)));
  ASSERT_TRUE(device->write((1 << 20) - 4096, pattern(4096, 1)));
  EXPECT_EQ(runs_of(*device, 4096, (1 << 20) - 4096), (Runs{{4096, 61440, false},
                                                            {65536, 65536, true},
                                                            {131072, (1 << 20) - 131072 - 4096, false},
                                                            {(1 << 20) - 4096, 4096, true}}));
  EXPECT_EQ(runs_of(*device, 70000, 5), (Runs{{70000, 5, true}}));
  SliceDevice slice(*device, 65536, 128 << 10, "slice");
  EXPECT_EQ(runs_of(slice, 0, 128 << 10), (Runs{{0, 65536, true}, {65536, 65536, false}}));
}

// ---- copying

class CopyTest : public NbdTest {
 protected:
  std::unique_ptr<WorkerPool> pool_ = WorkerPool::create({.threads = 3}).value();
  Progress progress_;
  Result<CopyReport> copy(Device& from, Device& to, CopyOptions options = {}) {
    options.progress = progress_;
    return copy_device(from, to, *pool_, options);
  }
};

TEST_F(CopyTest, WritesWhatIsNotZeroAndNothingElse) {
  const std::unique_ptr<Device> from = MemoryDevice::create(40 << 20).value(),
                                to = MemoryDevice::create(64 << 20).value();
  ASSERT_TRUE(from->write(512, pattern(512, 1)));
  ASSERT_TRUE(from->write(3 << 20, pattern(5 << 20, 2)));
  ASSERT_TRUE(from->write((40 << 20) - 1024, pattern(1024, 3)));
  const auto report = copy(*from, *to);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->written, 65536u + (5 << 20) + 65536);
  std::vector<std::byte> a(40 << 20), b(40 << 20);
  ASSERT_TRUE(from->read(0, a));
  ASSERT_TRUE(to->read(0, b));
  EXPECT_EQ(a, b);
  EXPECT_EQ(progress_.snapshot().bytes, uint64_t{40} << 20);
}

TEST_F(CopyTest, HolesOfAFileAreNotRead) {
  testing_kinds::TemporaryFile file(uint64_t{1} << 36);
  const auto from = FileDevice::open(file.path(), OpenMode::read_write).value();
  ASSERT_TRUE(from->write(uint64_t{1} << 35, pattern(8192, 1)));
  const std::unique_ptr<Device> to = MemoryDevice::create(uint64_t{1} << 36).value();
  const auto report = copy(*from, *to);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->written, 65536u);
  std::vector<std::byte> bytes(8192);
  ASSERT_TRUE(to->read(uint64_t{1} << 35, bytes));
  EXPECT_EQ(bytes, pattern(8192, 1));
}

TEST_F(CopyTest, SizesThatAreNoWholeBlocksAreFilledUp) {
  testing_kinds::TemporaryFile file(100'001);
  std::fstream(file.path(), std::ios::in | std::ios::out).seekp(100'000) << 'x';
  const auto from = FileDevice::open(file.path(), OpenMode::read_only).value();
  const std::unique_ptr<Device> to = MemoryDevice::create(100'352).value();
  ASSERT_TRUE(copy(*from, *to));
  std::byte last{};
  ASSERT_TRUE(to->read(100'000, {&last, 1}));
  EXPECT_EQ(last, std::byte{'x'});
  const std::unique_ptr<Device> small = MemoryDevice::create(99'840).value();
  EXPECT_TRUE(copy(*from, *small).error().is(err::no_space));
}

// From a server with one connection, whose extents are asked for between the reads.
TEST_F(CopyTest, FromAServerWithOneConnection) {
  const auto from = NbdDevice::serve({"nbdkit", "memory", "64M"}, "nbd", OpenMode::read_write).value();
  for (uint64_t i = 0; i < 20; ++i)
    ASSERT_TRUE(from->write(i * (3 << 20), pattern(65536, static_cast<unsigned>(i))));
  const std::unique_ptr<Device> to = MemoryDevice::create(64 << 20).value();
  const auto report = copy(*from, *to);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->written, 20u * 65536);
  std::vector<std::byte> bytes(65536);
  for (uint64_t i = 0; i < 20; ++i) {
    ASSERT_TRUE(to->read(i * (3 << 20), bytes));
    EXPECT_EQ(bytes, pattern(65536, static_cast<unsigned>(i)));
  }
}

TEST_F(CopyTest, ErrorsOfBothSidesEndIt) {
  const std::unique_ptr<Device> memory = MemoryDevice::create(16 << 20).value(),
                                to = MemoryDevice::create(16 << 20).value();
  ASSERT_TRUE(memory->write(0, pattern(16 << 20, 1)));
  for (const IoOp failing : {IoOp::read, IoOp::write, IoOp::flush})
    for (const uint64_t nth : {1, 4, 10}) {
      const FaultPlan plan{.faults = {{.op = failing, .nth = failing == IoOp::flush ? 1 : nth}}};
      FaultyDevice source(*memory, plan), target(*to, plan);
      const auto report = copy(source, target);
      ASSERT_FALSE(report) << name_of(failing) << " " << nth;
      EXPECT_TRUE(report.error().is(err::io)) << report.error().message();
      EXPECT_EQ(source.faults_met() + target.faults_met(), 1u);
    }
  CancelSource cancel;
  cancel.cancel();
  EXPECT_TRUE(copy(*memory, *to, {.cancel = cancel.token()}).error().is(err::cancelled));
}

// ---- images

class DiskImageTest : public NbdTest {
 protected:
  void run(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }
  static Result<std::unique_ptr<Device>> open(const std::string& name, const std::string& format = "") {
    return open_disk_image(name, format);
  }
};

TEST_F(DiskImageTest, RawIsWhatBeginsLikeNothing) {
  run("truncate -s 1M '" + path("raw") + "'");
  const auto image = open(path("raw"));
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_EQ((*image)->size(), 1u << 20);
}

TEST_F(DiskImageTest, Qcow2IsReadByItsProgram) {
  run("head -c 3000000 /dev/urandom >'" + path("raw,x") + "'; truncate -s 64M '" + path("raw,x") + "'");
  run("qemu-img convert -f raw -O qcow2 -c '" + path("raw,x") + "' '" + path("q,x") + "'");
  const auto raw = open(path("raw,x"), "raw"), image = open(path("q,x"));
  ASSERT_TRUE(image) << image.error().message();
  ASSERT_EQ((*image)->size(), 64u << 20);
  std::vector<std::byte> a(64 << 20), b(64 << 20);
  ASSERT_TRUE((*raw)->read(0, a));
  ASSERT_TRUE((*image)->read(0, b));
  EXPECT_EQ(a, b);
  const Runs runs = runs_of(**image, 0, 64 << 20);
  EXPECT_EQ(std::get<1>(runs.back()), (64u << 20) - std::get<0>(runs.back()));
  EXPECT_FALSE(std::get<2>(runs.back())) << "what was never written is no data";
}

// A guest that may write its raw disk could make it look like an image that names a file of the host.
TEST_F(DiskImageTest, WhatCouldNameOtherFilesIsNotGuessed) {
  run("echo secret >'" + path("secret") + "'; truncate -s 1M '" + path("secret") + "'");
  run("qemu-img create -q -f qcow2 -b '" + path("secret") + "' -F raw '" + path("backed") + "'");
  const auto guessed = open(path("backed"));
  ASSERT_FALSE(guessed);
  EXPECT_TRUE(guessed.error().is(err::invalid));
  EXPECT_NE(guessed.error().message().find("--format qcow2"), std::string::npos) << guessed.error().message();
  const auto told = open(path("backed"), "qcow2");
  ASSERT_TRUE(told) << told.error().message();
  std::vector<std::byte> bytes(6);
  ASSERT_TRUE((*told)->read(0, bytes));
  EXPECT_EQ(as_text(bytes), "secret");
  run("qemu-img create -q -f qcow2 -o data_file='" + path("data") + "' '" + path("outside") + "' 1M");
  EXPECT_TRUE(open(path("outside")).error().is(err::invalid));
  for (const char* format : {"vmdk", "vhdx", "vdi", "vpc"}) {
    run(std::string("qemu-img create -q -f ") + format + " '" + path(format) + "' 4M");
    const auto other = open(path(format));
    ASSERT_FALSE(other) << format;
    EXPECT_NE(other.error().message().find(std::string("--format ") + format), std::string::npos);
    const auto read = open(path(format), format);
    ASSERT_TRUE(read) << read.error().message();
    EXPECT_GE((*read)->size(), 4u << 20);
  }
}

// An image that comes to name a file after its format was guessed does not show it.
TEST_F(DiskImageTest, WhatIsGuessedHasNothingBehindIt) {
  run("echo secret >'" + path("secret") + "'; truncate -s 1M '" + path("secret") + "'");
  run("qemu-img create -q -f qcow2 -b '" + path("secret") + "' -F raw '" + path("backed") + "'");
  run("qemu-img create -q -f qcow2 '" + path("plain") + "' 1M");
  const auto image = open_disk_image(path("backed"), "", [&](std::string_view, OpenMode mode, FileOptions) {
    return FileDevice::open(path("plain"), mode);
  });
  ASSERT_TRUE(image) << image.error().message();
  std::vector<std::byte> bytes(4096, std::byte{1});
  ASSERT_TRUE((*image)->read(0, bytes));
  EXPECT_TRUE(all_zero(bytes));
}

TEST_F(DiskImageTest, WhatIsNoImageIsTold) {
  EXPECT_TRUE(open("/no/such/image").error().is(err::not_found));
  EXPECT_TRUE(open("/no/such/image", "../raw").error().is(err::invalid));
  run("echo nothing >'" + path("text") + "'");
  const auto image = open(path("text"), "qcow2");
  ASSERT_FALSE(image);
  EXPECT_NE(image.error().message().find("text"), std::string::npos) << image.error().message();
}

}  // namespace
}  // namespace karst::block

#endif

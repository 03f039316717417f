// Mounts, as a user has them. Each test process has a mount namespace of its own where it may.
#include "fuse/server.h"

#include <dirent.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "btrfs/tool/testing_image.h"

namespace karst::fuse {
namespace {

using btrfs::testing::escape;
using btrfs::testing::Json;
using btrfs::testing::Manifest;
using btrfs::testing::TemporaryDirectory;
using btrfs::testing::UnpackedImage;
using ::testing::HasSubstr;

bool is_root() { return ::geteuid() == 0; }

// Why mounting cannot be tested here, or nothing.
std::string no_mounting() {
  static const bool own_namespace = is_root() && ::unshare(CLONE_NEWNS) == 0 &&
                                    ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  int fd = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0) return fmt::format("/dev/fuse: {}", std::strerror(errno));
  ::close(fd);
  if (is_root() && !own_namespace) return "root may not have a mount namespace of its own here";
  if (!is_root() && ::access("/usr/bin/fusermount3", X_OK) != 0) return "no fusermount3";
  return "";
}

bool is_mounted(const std::string& directory) {
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);)
    if (line.find(" " + directory + " ") != std::string::npos) return true;
  return false;
}

// An image that is opened but not mounted.
struct Opened {
  explicit Opened(const UnpackedImage& files) {
    auto opened = btrfs::Image::open(files.options(), cache, Logger(log));
    if (!opened) throw std::runtime_error(opened.error().message());
    image = std::move(*opened);
  }
  MemorySink log;
  cache::Cache cache;
  std::unique_ptr<btrfs::Image> image;
};

// One that is served by threads of this process.
class Mounted {
 public:
  explicit Mounted(const UnpackedImage& files, const MountOptions& options = {}) : opened_(files) {
    auto created = Server::create(*opened_.image, directory_.path(), "image", options, Logger(opened_.log));
    if (!created) throw std::runtime_error(created.error().message());
    server_ = std::move(*created);
    thread_ = std::thread([this] { outcome_ = server_->run(Server::Signals::ignored); });
  }
  ~Mounted() {
    end();
    EXPECT_TRUE(outcome_) << outcome_.error().message();
    EXPECT_FALSE(is_mounted(directory_.path()));
  }
  void end() {
    server_->stop();
    join();
  }
  void join() {
    if (thread_.joinable()) thread_.join();
  }
  const std::string& path() const { return directory_.path(); }
  Server& server() { return *server_; }

 private:
  TemporaryDirectory directory_;
  Opened opened_;
  std::unique_ptr<Server> server_;
  Result<void> outcome_;
  std::thread thread_;
};

class ServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why = no_mounting();
    if (!why.empty()) GTEST_SKIP() << why;
  }
};

// What system calls show of one object, in the fields of the manifest.

Json times_of(const std::string& path) {
  struct statx status {};
  EXPECT_EQ(::statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &status), 0)
      << path;
  EXPECT_TRUE(status.stx_mask & STATX_BTIME);
  auto text = [](const statx_timestamp& time) { return fmt::format("{}.{:09}", time.tv_sec, time.tv_nsec); };
  return {{"mtime", text(status.stx_mtime)},
          {"ctime", text(status.stx_ctime)},
          {"btime", text(status.stx_btime)}};
}

Json xattrs_of(const std::string& path) {
  Json found = Json::object();
  std::string names(65536, '\0'), value(65536, '\0');
  ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  EXPECT_GE(length, 0) << path;
  // Asking for the size only.
  EXPECT_EQ(::llistxattr(path.c_str(), nullptr, 0), length) << path;
  for (ssize_t at = 0; at < length; at += static_cast<ssize_t>(std::strlen(names.c_str() + at)) + 1) {
    const char* name = names.c_str() + at;
    ssize_t size = ::lgetxattr(path.c_str(), name, value.data(), value.size());
    EXPECT_GE(size, 0) << path << " " << name;
    EXPECT_EQ(::lgetxattr(path.c_str(), name, nullptr, 0), size);
    if (size > 1) {
      char small;
      EXPECT_EQ(::lgetxattr(path.c_str(), name, &small, 1), -1);
      EXPECT_EQ(errno, ERANGE);
    }
    found[escape(name)] = btrfs::testing::hex(
        as_bytes(std::string_view(value).substr(0, static_cast<size_t>(std::max<ssize_t>(size, 0)))));
  }
  return found;
}

void describe_content(const std::string& path, off_t size, Json& entry) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ASSERT_GE(fd, 0) << path;
  entry["map"] = Json::array();
  for (off_t at = 0; at < size;) {
    off_t start = ::lseek(fd, at, SEEK_DATA);
    if (start < 0) break;
    at = ::lseek(fd, start, SEEK_HOLE);
    entry["map"].push_back({start, at});
  }
  btrfs::testing::Sha256 digest;
  Json unreadable = Json::array();
  std::vector<std::byte> buffer(1 << 20);
  for (off_t at = 0; at < size;) {
    ssize_t got = ::pread(fd, buffer.data(), buffer.size(), at);
    if (got < 0) {
      entry["read_error"] = errno == EIO ? "EIO" : std::strerror(errno);
      // Page by page: what is good must be had.
      got = ::pread(fd, buffer.data(), 4096, at);
      if (got < 0) {
        off_t end = std::min<off_t>(at + 4096, size);
        if (!unreadable.empty() && unreadable.back()[1] == at)
          unreadable.back()[1] = end;
        else
          unreadable.push_back({at, end});
        at = end;
        continue;
      }
    }
    digest.add(Bytes(buffer).first(static_cast<size_t>(got)));
    at += got;
  }
  ::close(fd);
  if (unreadable.empty())
    entry["sha256"] = digest.text();
  else
    entry["unreadable"] = unreadable;
}

Json describe(const std::string& path) {
  struct stat status {};
  EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
  Json entry = times_of(path);
  entry["type"] = btrfs::testing::type_name(status.st_mode);
  entry["ino"] = status.st_ino;
  entry["mode"] = fmt::format("{:04o}", status.st_mode & 07777);
  entry["uid"] = status.st_uid;
  entry["gid"] = status.st_gid;
  entry["size"] = status.st_size;
  entry["nlink"] = status.st_nlink;
  entry["blocks"] = status.st_blocks;
  entry["xattrs"] = xattrs_of(path);
  if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode))
    entry["rdev"] = fmt::format("{}:{}", major(status.st_rdev), minor(status.st_rdev));
  if (S_ISLNK(status.st_mode)) {
    std::string target(4096, '\0');
    ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
    entry["target"] =
        escape(std::string_view(target).substr(0, static_cast<size_t>(std::max<ssize_t>(length, 0))));
  }
  if (S_ISREG(status.st_mode)) describe_content(path, status.st_size, entry);
  return entry;
}

void add_tree(const std::string& root, const std::string& below, Manifest& manifest) {
  manifest[below.empty() ? "/" : escape(below)] = describe(root + below);
  DIR* directory = ::opendir((root + below).c_str());
  if (!directory) return;  // not a directory
  while (dirent* entry = ::readdir(directory)) {
    std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat status {};
    EXPECT_EQ(::lstat((root + below + "/" + name).c_str(), &status), 0);
    EXPECT_EQ(entry->d_type, IFTODT(status.st_mode)) << name;
    if (S_ISDIR(status.st_mode))
      add_tree(root, below + "/" + name, manifest);
    else
      manifest[escape(below + "/" + name)] = describe(root + below + "/" + name);
  }
  ::closedir(directory);
}

Manifest manifest_at(const std::string& root) {
  Manifest manifest;
  add_tree(root, "", manifest);
  return manifest;
}

// What a mount with one device number cannot show like the kernel's.
Manifest comparable(Manifest manifest) {
  for (auto& [path, entry] : manifest) {
    if (entry.contains("subvolid") && entry["subvolid"] != 5) entry.erase("ino");
    if (entry.contains("ino") && entry["ino"] == 2) entry.erase("ino");
    entry.erase("subvolid");
    entry.erase("path");
  }
  return manifest;
}

std::string test_name(const ::testing::TestParamInfo<std::string>& image) {
  std::string name = image.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class MountedImage : public ServerTest, public ::testing::WithParamInterface<std::string> {};
INSTANTIATE_TEST_SUITE_P(Images, MountedImage,
                         ::testing::Values("everything", "bad-data", "bad-data-raid5-3", "snapshots-4k",
                                           "subvolumes", "log-much-4k", "raid6-5", "sectorsize-64k-zstd",
                                           "nodes", "names"),
                         test_name);

TEST_P(MountedImage, ShowsWhatTheKernelShows_BT010_BT035_BT054_BT065) {
  if (!is_root()) GTEST_SKIP() << "some attributes are shown to root only";
  UnpackedImage files(GetParam());
  Mounted mount(files);
  EXPECT_EQ(btrfs::testing::joined(
                btrfs::testing::differences(comparable(files.manifest()), manifest_at(mount.path()))),
            "");
}

TEST_F(ServerTest, StatfsIsThatOfTheImage_BT034) {
  UnpackedImage files("nodes");
  Mounted mount(files);
  struct statvfs numbers {};
  ASSERT_EQ(::statvfs(mount.path().c_str(), &numbers), 0);
  EXPECT_EQ(numbers.f_blocks, files.info()["kernel"]["statfs"]["blocks"]);
  EXPECT_EQ(numbers.f_bavail, files.info()["kernel"]["statfs"]["bavail"]);
  EXPECT_EQ(numbers.f_namemax, 255u);
}

TEST_F(ServerTest, NothingIsAskedTwice) {
  UnpackedImage files("nodes");
  Mounted mount(files);
  size_t links = 0;
  auto walk = [&] {
    size_t objects = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(mount.path())) {
      struct stat status {};
      EXPECT_EQ(::lstat(entry.path().c_str(), &status), 0);
      if (S_ISREG(status.st_mode)) std::ifstream(entry.path()).get();
      if (S_ISLNK(status.st_mode)) links += std::filesystem::read_symlink(entry.path()).empty() ? 0 : 1;
      EXPECT_NE(::lstat((entry.path().string() + "-absent").c_str(), &status), 0);
      ++objects;
    }
    return objects;
  };
  EXPECT_GT(walk(), 5u);
  EXPECT_GT(links, 0u);
  const uint64_t asked = mount.server().requests();
  walk();
  EXPECT_EQ(mount.server().requests(), asked);
}

TEST_F(ServerTest, ListingAndReadingAFileTakesOneRequestForIt) {
  UnpackedImage files("levels-4k");
  Mounted mount(files);
  size_t contents = 0, directories = 1;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(mount.path())) {
    struct stat status {};
    EXPECT_EQ(::lstat(entry.path().c_str(), &status), 0);
    if (S_ISDIR(status.st_mode)) ++directories;
    if (!S_ISREG(status.st_mode) || status.st_size == 0 || status.st_size > 65536) continue;
    std::ifstream(entry.path()).get();
    ++contents;
  }
  ASSERT_GT(contents, 100u);
  // A few more for large directories, and what asks once for all: the start, open, opendir.
  EXPECT_LT(mount.server().requests(), contents + contents / 4 + 3 * directories + 20);
}

TEST_F(ServerTest, ManyReadersSeeTheSame) {
  UnpackedImage files("everything");
  MountOptions options;
  options.threads = 4;
  Mounted mount(files, options);
  std::vector<Manifest> found(4);
  {
    std::vector<std::thread> readers;
    for (Manifest& manifest : found) readers.emplace_back([&] { manifest = manifest_at(mount.path()); });
    for (std::thread& reader : readers) reader.join();
  }
  for (const Manifest& manifest : found) EXPECT_EQ(manifest, found[0]);
  EXPECT_GT(found[0].size(), 10u);
}

TEST_F(ServerTest, InodeNumbersAreUniqueAcrossSubvolumesAndTheSameInTheNextMount) {
  UnpackedImage files("snapshots-4k");
  std::map<std::pair<ino_t, nlink_t>, std::string> first;
  for (int round = 0; round < 2; ++round) {
    Mounted mount(files);
    std::map<std::pair<ino_t, nlink_t>, std::string> found;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(mount.path())) {
      struct stat status {};
      ASSERT_EQ(::lstat(entry.path().c_str(), &status), 0);
      if (!S_ISDIR(status.st_mode) && status.st_nlink > 1) continue;
      auto [at, is_new] =
          found.emplace(std::pair(status.st_ino, 0), entry.path().string().substr(mount.path().size()));
      EXPECT_TRUE(is_new) << at->second << " and " << entry.path();
    }
    if (round == 0)
      first = found;
    else
      EXPECT_EQ(found, first);
  }
}

TEST_F(ServerTest, FileHandlesOutliveTheMount_BT063) {
  if (!is_root()) GTEST_SKIP() << "opening by handle is for root";
  UnpackedImage files("everything");
  std::string path;
  for (const auto& [name, entry] : files.manifest())
    if (entry["type"] == "file" && entry["subvolid"] != 5 && entry["size"] > 0 &&
        name.find('\\') == std::string::npos)
      path = name;
  ASSERT_NE(path, "");
  alignas(file_handle) unsigned char handle_bytes[sizeof(file_handle) + MAX_HANDLE_SZ] = {};
  auto* handle = reinterpret_cast<file_handle*>(handle_bytes);
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount_id;
  {
    Mounted mount(files);
    ASSERT_EQ(::name_to_handle_at(AT_FDCWD, (mount.path() + path).c_str(), handle, &mount_id, 0), 0);
  }
  Mounted mount(files);
  int directory = ::open(mount.path().c_str(), O_RDONLY | O_CLOEXEC);
  int fd = ::open_by_handle_at(directory, handle, O_RDONLY);
  ASSERT_GE(fd, 0) << std::strerror(errno);
  char byte;
  EXPECT_EQ(::read(fd, &byte, 1), 1);
  ::close(fd);
  handle_bytes[sizeof(file_handle) + 4] ^= 0x55;  // an inode that is not there
  handle_bytes[sizeof(file_handle) + 6] ^= 0x55;
  EXPECT_LT(::open_by_handle_at(directory, handle, O_RDONLY), 0);
  ::close(directory);
}

TEST_F(ServerTest, NothingCanBeWritten) {
  UnpackedImage files("nodes");
  Mounted mount(files);
  EXPECT_LT(::open((mount.path() + "/new").c_str(), O_WRONLY | O_CREAT, 0600), 0);
  EXPECT_EQ(errno, EROFS);
  EXPECT_NE(::unlink((mount.path() + "/nodes").c_str()), 0);
}

// What a process of that user and group gets for opening a file: 0 or an errno.
int open_as(uid_t user, gid_t group, const std::string& path) {
  pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(group) != 0 || ::setuid(user) != 0) ::_exit(255);
    ::_exit(::open(path.c_str(), O_RDONLY | O_CLOEXEC) >= 0 ? 0 : errno);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST_F(ServerTest, AllowingOthersChecksModesAndAcls) {
  if (!is_root()) GTEST_SKIP() << "needs other users";
  UnpackedImage files("xattrs");
  MountOptions options;
  options.allow_other = true;
  Mounted mount(files, options);
  const std::string file = mount.path() + "/xattrs/acl-file";  // 0771, group 100 may read by the ACL
  if (open_as(5000, 5000, mount.path()) == EACCES)
    GTEST_SKIP() << "others cannot get at the test's directory";
  EXPECT_EQ(open_as(5000, 5000, file), EACCES);
  EXPECT_EQ(open_as(5000, 100, file), 0);
  EXPECT_EQ(open_as(0, 0, file), 0);
}

TEST_F(ServerTest, WithoutAclsOnlyModesAreChecked) {
  if (!is_root()) GTEST_SKIP() << "needs other users";
  UnpackedImage files("xattrs");
  MountOptions options;
  options.allow_other = true;
  options.acl = false;
  Mounted mount(files, options);
  if (open_as(5000, 5000, mount.path()) == EACCES)
    GTEST_SKIP() << "others cannot get at the test's directory";
  EXPECT_EQ(open_as(5000, 100, mount.path() + "/xattrs/acl-file"), EACCES);
}

TEST_F(ServerTest, OthersAreKeptOutOtherwise) {
  if (!is_root()) GTEST_SKIP() << "needs other users";
  UnpackedImage files("nodes");
  Mounted mount(files);
  EXPECT_EQ(open_as(5000, 5000, mount.path()), EACCES);
}

TEST_F(ServerTest, UnmountingEndsIt) {
  if (!is_root()) GTEST_SKIP() << "umount(2) is for root";
  UnpackedImage files("nodes");
  Mounted mount(files);
  EXPECT_TRUE(std::filesystem::exists(mount.path() + "/nodes"));
  ASSERT_EQ(::umount2(mount.path().c_str(), 0), 0);
  mount.join();
}

TEST_F(ServerTest, StoppingWithFilesOpenUnmountsAllTheSame) {
  UnpackedImage files("nodes");
  Mounted mount(files);
  int fd = ::open(mount.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  ASSERT_GE(fd, 0);
  mount.end();
  EXPECT_FALSE(is_mounted(mount.path()));
  ::close(fd);
}

TEST_F(ServerTest, StoppingBeforeItRunsIsRemembered) {
  UnpackedImage files("nodes");
  TemporaryDirectory directory;
  Opened opened(files);
  auto server = Server::create(*opened.image, directory.path(), "image", {}, Logger());
  ASSERT_TRUE(server) << server.error().message();
  (*server)->stop();
  EXPECT_TRUE((*server)->run(Server::Signals::ignored));
  EXPECT_FALSE(is_mounted(directory.path()));
}

TEST_F(ServerTest, NotRunningItUnmountsToo) {
  UnpackedImage files("nodes");
  TemporaryDirectory directory;
  Opened opened(files);
  {
    auto server = Server::create(*opened.image, directory.path(), "image", {}, Logger());
    ASSERT_TRUE(server) << server.error().message();
    EXPECT_TRUE(is_mounted(directory.path()));
  }
  EXPECT_FALSE(is_mounted(directory.path()));
}

TEST_F(ServerTest, SigtermUnmountsAndEndsWell) {
  UnpackedImage files("nodes");
  TemporaryDirectory directory;
  pid_t child = ::fork();
  if (child == 0) {
    Opened opened(files);
    auto server = Server::create(*opened.image, directory.path(), "image", {}, Logger());
    if (!server) ::_exit(2);
    ::_exit((*server)->run(Server::Signals::heeded) ? 0 : 3);
  }
  for (int i = 0; i < 3000 && !is_mounted(directory.path()); ++i) ::usleep(10'000);
  EXPECT_TRUE(std::filesystem::exists(directory.path() + "/nodes"));  // answered, so it runs
  ::kill(child, SIGTERM);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_FALSE(is_mounted(directory.path()));
}

TEST_F(ServerTest, ASignalBetweenMountingAndServingUnmountsToo) {
  UnpackedImage files("nodes");
  TemporaryDirectory directory;
  pid_t child = ::fork();
  if (child == 0) {
    Opened opened(files);
    const HeldSignals held;
    auto server = Server::create(*opened.image, directory.path(), "image", {}, Logger());
    if (!server) ::_exit(2);
    ::raise(SIGTERM);
    ::_exit((*server)->run(Server::Signals::heeded) ? 0 : 3);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status)) << status;
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_FALSE(is_mounted(directory.path()));
}

TEST_F(ServerTest, TwoMountsOfOneImageDoNotMind) {
  UnpackedImage files("nodes");
  Mounted first(files), second(files);
  EXPECT_EQ(manifest_at(first.path()), manifest_at(second.path()));
}

TEST_F(ServerTest, TheSourceAndTypeAreShown) {
  UnpackedImage files("nodes");
  MountOptions options;
  options.fsname = "a,b\\c";
  Mounted mount(files, options);
  std::ifstream mounts("/proc/self/mounts");
  std::string all((std::istreambuf_iterator<char>(mounts)), {});
  EXPECT_THAT(all, HasSubstr("a,b\\134c " + mount.path() + " fuse.karst ro,"));
}

TEST_F(ServerTest, AMountpointThatIsNoneIsNamed) {
  UnpackedImage files("nodes");
  Opened opened(files);
  auto error_of = [&](const std::string& where) {
    auto server = Server::create(*opened.image, where, "image", {}, Logger());
    return server ? "none" : server.error().message();
  };
  EXPECT_THAT(error_of("/does/not/exist"), HasSubstr("mountpoint '/does/not/exist'"));
  EXPECT_THAT(error_of(files.devices()[0]), HasSubstr("is not a directory"));
}

}  // namespace
}  // namespace karst::fuse

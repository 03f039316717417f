#include "btrfs/tool/build/directory_source.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/xattr.h>

#include <filesystem>
#include <fstream>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/testing_inventory.h"

namespace karst::btrfs::build {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace testing;

class DirectorySourceTest : public ::testing::Test {
 protected:
  DirectorySourceTest() {
    std::string name = ::testing::TempDir() + "karst-source-XXXXXX";
    root_ = ::mkdtemp(name.data());
    pool_ = WorkerPool::create({.threads = 3}).value();
  }
  ~DirectorySourceTest() override { fs::remove_all(root_); }

  void write(const std::string& path, std::string_view text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  Result<Layout> scan(std::string target = "") {
    Inventory inventory = Inventory::create(inventory_options_, declarations_).value();
    files_.emplace();
    UniqueFd fd(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    const uint32_t source = files_->add(root_, std::move(fd));
    TRY(scan_directory({*files_, source, target, spec_, options_, on_listed_}, inventory, *pool_));
    return inventory.finish(nullptr);
  }
  // "path kind" of each inode of the top level, without its root.
  std::vector<std::string> paths(const Layout& layout) {
    std::vector<std::string> found;
    Walk walk = layout.walk();
    (void)walk.next_subvolume().value();
    (void)walk.next().value();
    while (const Inode* inode = walk.next().value()) {
      std::string all;
      for (const Link& link : inode->links)
        all += std::string(all.empty() ? "" : ",") + std::string(link.name);
      found.push_back(fmt::format("{} {:o}", all, inode->attributes.type() >> 12));
    }
    return found;
  }
  // Calls back for each inode with an origin.
  void each(const Layout& layout, std::function<void(const Inode&)> visit) {
    Walk walk = layout.walk();
    while (walk.next_subvolume().value())
      while (const Inode* inode = walk.next().value())
        if (inode->origin) visit(*inode);
  }

  fs::path root_;
  std::unique_ptr<WorkerPool> pool_;
  std::optional<SourceFiles> files_;
  SourceSpec spec_;
  SourceOptions options_;
  InventoryOptions inventory_options_{.temporary_directory = ::testing::TempDir()};
  Declarations declarations_;
  std::function<void(std::string_view)> on_listed_;
};

TEST_F(DirectorySourceTest, TakesEveryTypeOfFile) {
  write("dir/file", "text");
  fs::create_symlink("some/target", root_ / "link");
  fs::create_hard_link(root_ / "dir/file", root_ / "again");
  ASSERT_EQ(::mkfifo((root_ / "pipe").c_str(), 0600), 0);
  sockaddr_un address{.sun_family = AF_UNIX};
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", root_.c_str());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  const Layout layout = scan().value();
  EXPECT_THAT(paths(layout), ElementsAre("again,file 10", "dir 4", "link 12", "pipe 1", "socket 14"));
  each(layout, [](const Inode& inode) {
    if (inode.path == "link") {
      EXPECT_EQ(as_text(inode.content_bytes), "some/target");
    }
    if (inode.path == "again") {
      EXPECT_EQ(inode.content, ContentKind::source_file);
      EXPECT_EQ(inode.attributes.size, 4u);
    }
  });
}

TEST_F(DirectorySourceTest, KeepsTimesToTheNanosecondAndOwners) {
  write("f", "x");
  const timespec times[2] = {{1000, 123456789}, {2000, 987654321}};
  ASSERT_EQ(::utimensat(AT_FDCWD, (root_ / "f").c_str(), times, 0), 0);
  each(scan().value(), [](const Inode& inode) {
    EXPECT_EQ(inode.attributes.uid, ::getuid());
    if (inode.path != "f") return;
    EXPECT_EQ(inode.attributes.atime, (Time{1000, 123456789}));
    EXPECT_EQ(inode.attributes.mtime, (Time{2000, 987654321}));
  });
}

TEST_F(DirectorySourceTest, ArrivesSortedWhateverTheNumberOfThreads) {
  for (int i = 0; i < 3000; ++i) write(fmt::format("{}/{}/{}", i % 7, i % 113, i), "x");
  inventory_options_.memory = 100'000;
  const std::vector<std::string> one = walk_lines(scan().value());
  for (unsigned threads : {1u, 2u, 5u}) {
    pool_ = WorkerPool::create({.threads = threads}).value();
    EXPECT_EQ(walk_lines(scan().value()), one);
  }
}

TEST_F(DirectorySourceTest, ADirectoryOfMoreNamesThanAreReadAtOnce) {
  for (int i = 0; i < 20'000; ++i)
    UniqueFd(::open((root_ / std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0600));
  EXPECT_EQ(scan().value().subvolumes()[0].inodes, 20'001u);
}

TEST_F(DirectorySourceTest, IsReadAgainByItsOrigins) {
  write("a/b/file", "content");
  ASSERT_EQ(::setxattr((root_ / "a/b/file").c_str(), "user.test", "value", 5, 0), 0);
  ASSERT_EQ(::setxattr((root_ / "a").c_str(), "user.dir", "d", 1, 0), 0);
  ASSERT_EQ(::setxattr(root_.c_str(), "user.root", "r", 1, 0), 0);
  const Layout layout = scan("placed/there").value();
  std::vector<std::string> found;
  SourceReader reader(*files_);
  each(layout, [&](const Inode& inode) {
    UniqueFd fd;
    if (inode.content == ContentKind::source_file) {
      fd = reader.open(*inode.origin).value();
      char text[20];
      EXPECT_EQ(::read(fd.get(), text, sizeof text), 7);
    }
    ASSERT_TRUE(
        reader.for_each_xattr(*inode.origin, fd ? fd.get() : -1, [&](std::string_view name, Bytes value) {
          if (name.starts_with("user."))
            found.push_back(fmt::format("{} {}={}", inode.path, name, as_text(value)));
          return Result<void>();
        }));
  });
  EXPECT_THAT(found, ElementsAre("placed/there user.root=r", "placed/there/a user.dir=d",
                                 "placed/there/a/b/file user.test=value"));
}

TEST_F(DirectorySourceTest, PathsLongerThanPathMaxAreReadAgain) {
  const std::string name(200, 'n');
  int directory = ::open(root_.c_str(), O_PATH | O_DIRECTORY);
  for (int i = 0; i < 50; ++i) {
    ASSERT_EQ(::mkdirat(directory, name.c_str(), 0700), 0);
    const int below = ::openat(directory, name.c_str(), O_PATH | O_DIRECTORY);
    ::close(directory);
    directory = below;
  }
  UniqueFd(::openat(directory, "deep", O_CREAT | O_WRONLY, 0600)).reset();
  UniqueFd file(::openat(directory, "deep", O_WRONLY));
  ASSERT_EQ(::write(file.get(), "x", 1), 1);
  ::close(directory);
  const Layout layout = scan().value();
  SourceReader reader(*files_);
  int opened = 0;
  each(layout, [&](const Inode& inode) {
    if (inode.content == ContentKind::source_file) opened += reader.open(*inode.origin).has_value();
  });
  EXPECT_EQ(opened, 1);
}

TEST_F(DirectorySourceTest, WhatVanishesWhileListedIsNamed) {
  write("d/keep", "x");
  write("d/vanishing", "x");
  on_listed_ = [this](std::string_view directory) {
    if (directory == "d") fs::remove(root_ / "d/vanishing");
  };
  auto stopped = scan();
  ASSERT_FALSE(stopped);
  EXPECT_TRUE(stopped.error().is(err::source_vanished));
  EXPECT_THAT(stopped.error().message(), HasSubstr("d/vanishing"));
  write("d/vanishing", "x");
  SkipSourceErrors errors{Logger()};
  options_.errors = &errors;
  EXPECT_THAT(paths(scan().value()), ElementsAre("d 4", "keep 10"));
  EXPECT_EQ(errors.count(), 1u);
}

TEST_F(DirectorySourceTest, WhatChangesAfterTheScanIsNamed) {
  write("gone", "x");
  write("changed", "x");
  write("replaced", "x");
  write("same", "x");
  const Layout layout = scan().value();
  fs::remove(root_ / "gone");
  write("changed", "xy");
  fs::remove(root_ / "replaced");
  fs::create_symlink("same", root_ / "replaced");
  SourceReader reader(*files_);
  std::map<std::string, const ErrorKind*> kinds;
  each(layout, [&](const Inode& inode) {
    if (inode.content != ContentKind::source_file) return;
    auto fd = reader.open(*inode.origin);
    kinds[std::string(inode.path)] = fd ? nullptr : &fd.error().kind();
    if (!fd) return;
    EXPECT_TRUE(reader.verify_unchanged(fd->get(), *inode.origin));
    write("same", "written while read");
    EXPECT_TRUE(reader.verify_unchanged(fd->get(), *inode.origin).error().is(err::source_changed));
  });
  EXPECT_EQ(kinds["gone"], &err::source_vanished);
  EXPECT_EQ(kinds["changed"], &err::source_changed);
  EXPECT_EQ(kinds["replaced"], &err::source_changed);
  EXPECT_EQ(kinds["same"], nullptr);
}

TEST_F(DirectorySourceTest, WhatMayNotBeReadIsNamed) {
  write("secret/file", "x");
  write("file", "x");
  ::chmod((root_ / "secret").c_str(), 0);
  ::chmod((root_ / "file").c_str(), 0);
  ::chmod(root_.c_str(), 0755);
  const bool was_root = ::geteuid() == 0;
  if (was_root) {
    ASSERT_EQ(::seteuid(65534), 0);
  }
  pool_ = WorkerPool::create({.threads = 1}).value();
  auto stopped = scan();
  SkipSourceErrors errors{Logger()};
  options_.errors = &errors;
  auto skipped = scan();
  const ErrorKind* unreadable = nullptr;
  if (skipped)
    each(*skipped, [&](const Inode& inode) {
      if (inode.path != "file") return;
      auto fd = SourceReader(*files_).open(*inode.origin);
      if (!fd) unreadable = &fd.error().kind();
    });
  if (was_root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  ::chmod((root_ / "secret").c_str(), 0700);
  ASSERT_FALSE(stopped);
  EXPECT_TRUE(stopped.error().is(err::source_unreadable)) << stopped.error().message();
  ASSERT_TRUE(skipped);
  EXPECT_THAT(paths(*skipped), ElementsAre("file 10", "secret 4"));
  EXPECT_EQ(errors.count(), 1u);
  EXPECT_EQ(unreadable, &err::source_unreadable);
}

TEST_F(DirectorySourceTest, OverridesMakeItRoots) {
  write("d/f", "x");
  fs::create_symlink("x", root_ / "l");
  spec_.overrides = {
      .uid = 0, .gid = 5, .file_permissions = 0640, .directory_permissions = 0750, .mtime = Time{77}};
  each(scan().value(), [](const Inode& inode) {
    EXPECT_EQ(inode.attributes.uid, 0u);
    EXPECT_EQ(inode.attributes.gid, 5u);
    EXPECT_EQ(inode.attributes.mtime, Time{77});
    const uint32_t type = inode.attributes.type();
    EXPECT_EQ(inode.attributes.mode & 07777, type == mode::directory ? 0750u
                                             : type == mode::regular ? 0640u
                                                                     : 0777u);
  });
}

TEST_F(DirectorySourceTest, TheImageBeingMadeIsLeftOut) {
  write("image", "x");
  write("f", "x");
  struct stat status;
  ASSERT_EQ(::stat((root_ / "image").c_str(), &status), 0);
  options_.exclude = {{status.st_dev, status.st_ino}};
  EXPECT_THAT(paths(scan().value()), ElementsAre("f 10"));
}

TEST_F(DirectorySourceTest, HolesAreGuessedFromAllocatedBlocks) {
  write("sparse", "");
  ASSERT_EQ(::truncate((root_ / "sparse").c_str(), 1 << 20), 0);
  write("dense", std::string(8192, 'x'));
  each(scan().value(), [](const Inode& inode) {
    if (inode.path == "sparse") {
      EXPECT_TRUE(inode.may_be_sparse);
    }
    if (inode.path == "dense") {
      EXPECT_FALSE(inode.may_be_sparse);
    }
  });
}

TEST_F(DirectorySourceTest, CancellingEndsTheScan) {
  write("d/f", "x");
  CancelSource cancel;
  options_.cancel = cancel.token();
  on_listed_ = [&](std::string_view) { cancel.cancel(); };
  EXPECT_TRUE(scan().error().is(karst::err::cancelled));
}

}  // namespace
}  // namespace karst::btrfs::build

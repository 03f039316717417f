// Files in a directory of the host: what is restored, what is kept, and that nothing leads out.
#include "btrfs/tool/restore/directory_target.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <csignal>
#include <fstream>

#include "btrfs/tool/build/posix_acl.h"
#include "btrfs/tool/testing_image.h"

namespace karst::btrfs::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::_;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// A target and a directory beside it that must stay as it is.
class DirectoryTargetTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directory(outside());
    write(outside() + "/kept", "as it was");
    open({});
  }
  void open(const DirectoryTargetOptions& options) {
    target_ = std::move(*DirectoryTarget::open(inside(), options, lost_));
  }
  std::string inside(const std::string& name = "") const { return directory_.path() + "/in/" + name; }
  std::string outside() const { return directory_.path() + "/out"; }
  static void write(const std::string& path, const std::string& text) { std::ofstream(path) << text; }
  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  static CopiedEntry entry(const std::string& path, mode_t mode) {
    CopiedEntry made;
    made.path = path;
    made.attributes = Attributes{};
    made.attributes.mode = mode;
    made.attributes.uid = getuid();
    made.attributes.gid = getgid();
    made.attributes.mtime = {1'000'000'000, 5};
    return made;
  }
  static CopiedEntry file(const std::string& path) { return entry(path, S_IFREG | 0640); }
  static CopiedEntry directory(const std::string& path) { return entry(path, S_IFDIR | 0550); }
  static CopiedEntry symlink(const std::string& path, const std::string& to) {
    CopiedEntry made = entry(path, S_IFLNK | 0777);
    made.symlink = to;
    return made;
  }

  Result<void> add(CopiedEntry made, std::string_view contents = "", CopyTarget::Failures failures = {}) {
    if (made.attributes.is_directory()) TRY(target_->prepare(made));
    made.attributes.size = contents.size();
    auto part = target_->new_part();
    TRY(target_->add(*part, made, as_bytes(contents), failures));
    return target_->take(*part);
  }

  TemporaryDirectory directory_;
  std::vector<std::string> losses_, ranges_;  // paths of all; what was lost of their contents
  std::function<void(const CopyLoss&)> lost_ = [this](const CopyLoss& loss) {
    losses_.push_back(loss.path);
    if (loss.length > 0)
      ranges_.push_back(
          fmt::format("{} {} {}+{}", loss_name(loss.kind), loss.path, loss.offset, loss.length));
  };
  std::unique_ptr<DirectoryTarget> target_;
};

TEST_F(DirectoryTargetTest, FollowsNoLinkThatTheImageHasPlanted) {
  ASSERT_TRUE(add(symlink("way", outside())));
  EXPECT_FALSE(add(file("way/escaped"), "x"));
  EXPECT_FALSE(add(directory("way")));
  EXPECT_FALSE(add(file("way"), "x"));
  EXPECT_FALSE(add(directory("way/escaped")));
  EXPECT_FALSE(fs::exists(outside() + "/escaped"));
  EXPECT_TRUE(fs::is_symlink(inside("way")));
}

TEST_F(DirectoryTargetTest, RefusesNamesThatAreNone) {
  for (const char* path : {"..", "../escaped", "a/../../escaped", "/escaped", "a//b", ".", "./a", "a/"}) {
    EXPECT_FALSE(add(file(path), "x")) << path;
    EXPECT_FALSE(add(directory(path))) << path;
  }
  EXPECT_FALSE(add(file(std::string("a\0b", 3)), "x"));
  EXPECT_FALSE(fs::exists(directory_.path() + "/escaped"));
}

TEST_F(DirectoryTargetTest, WritesPiecesOnlyIntoRegularFiles) {
  CopiedEntry large = file("large");
  large.attributes.size = 4;
  ASSERT_TRUE(target_->prepare(large));
  ASSERT_TRUE(fs::remove(inside("large")));
  ASSERT_TRUE(add(symlink("large", outside() + "/kept")));
  auto part = target_->new_part();
  EXPECT_FALSE(target_->add_piece(*part, large, 0, as_bytes("evil"), {}, true));
  ASSERT_TRUE(fs::remove(inside("large")));
  ASSERT_TRUE(add(entry("large", S_IFIFO | 0600)));
  EXPECT_FALSE(target_->add_piece(*part, large, 0, as_bytes("evil"), {}, true));
  EXPECT_EQ(read(outside() + "/kept"), "as it was");
}

TEST_F(DirectoryTargetTest, SetsAttributesOfLinksNotOfWhatTheyLeadTo) {
  struct stat before, after;
  ASSERT_EQ(stat((outside() + "/kept").c_str(), &before), 0);
  ASSERT_TRUE(add(symlink("way", outside() + "/kept")));
  ASSERT_EQ(stat((outside() + "/kept").c_str(), &after), 0);
  EXPECT_EQ(before.st_mode, after.st_mode);
  EXPECT_EQ(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
  struct stat link;
  ASSERT_EQ(lstat(inside("way").c_str(), &link), 0);
  EXPECT_EQ(link.st_mtim.tv_sec, 1'000'000'000);
}

TEST_F(DirectoryTargetTest, KeepsWhatExistsUnlessToldToReplaceIt) {
  write(inside("a"), "mine");
  EXPECT_FALSE(add(file("a"), "theirs"));
  EXPECT_EQ(read(inside("a")), "mine");
  open({.overwrite = true});
  EXPECT_TRUE(add(file("a"), "theirs"));
  EXPECT_EQ(read(inside("a")), "theirs");
  EXPECT_TRUE(add(directory("a")));
  EXPECT_TRUE(add(file("a/b"), "theirs"));
  EXPECT_FALSE(add(file("a"), "theirs"));
  EXPECT_EQ(read(inside("a/b")), "theirs");
}

TEST_F(DirectoryTargetTest, TakesImpossibleNanosecondsForNone) {
  CopiedEntry odd = file("a");
  odd.attributes.mtime = {1'000'000'000, UTIME_NOW};
  ASSERT_TRUE(add(odd));
  struct stat status;
  ASSERT_EQ(stat(inside("a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mtim.tv_sec, 1'000'000'000);
}

TEST_F(DirectoryTargetTest, SetsModesAndTimesOfDirectoriesAfterWhatIsInThem) {
  ASSERT_TRUE(add(directory("a")));
  ASSERT_TRUE(add(directory("a/b")));
  ASSERT_TRUE(add(file("a/b/c"), "text"));
  ASSERT_TRUE(add(file("a/d"), "text"));
  ASSERT_TRUE(target_->finish());
  for (const char* name : {"a", "a/b"}) {
    struct stat status;
    ASSERT_EQ(stat(inside(name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, 0550u) << name;
    EXPECT_EQ(status.st_mtim.tv_sec, 1'000'000'000) << name;
  }
  struct stat status;
  ASSERT_EQ(stat(inside("a/b/c").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
  EXPECT_EQ(status.st_mtim.tv_nsec, 5);
  EXPECT_TRUE(losses_.empty());
}

TEST_F(DirectoryTargetTest, NothingInheritsAccessLists_BT061) {
  const auto list = build::encode_acl(build::parse_acl("u::rwx,u:1:rwx,g::rwx,m::rwx,o::rwx",
                                                       [](auto, bool) { return std::nullopt; })
                                          .value())
                        .value();
  if (setxattr(inside().c_str(), build::acl_default_xattr, list.data(), list.size(), 0) != 0)
    GTEST_SKIP() << "no access lists here";
  CopiedEntry own = file("own");
  own.xattrs.emplace_back(build::acl_access_xattr, list);
  ASSERT_TRUE(add(own));
  ASSERT_TRUE(add(file("file"), "text"));
  ASSERT_TRUE(add(directory("directory")));
  ASSERT_TRUE(target_->finish());
  auto has = [&](const char* name, const char* acl) {
    return getxattr(inside(name).c_str(), acl, nullptr, 0) >= 0;
  };
  EXPECT_TRUE(has("own", build::acl_access_xattr));
  for (const char* name : {"file", "directory"}) {
    EXPECT_FALSE(has(name, build::acl_access_xattr)) << name;
    EXPECT_FALSE(has(name, build::acl_default_xattr)) << name;
  }
  struct stat status;
  ASSERT_EQ(stat(inside("file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
}

TEST_F(DirectoryTargetTest, LinksNamesOfOneFile) {
  ASSERT_TRUE(add(directory("a")));
  ASSERT_TRUE(add(file("a/first"), "text"));
  CopiedEntry second = file("second");
  second.hardlink = "a/first";
  ASSERT_TRUE(add(second));
  EXPECT_EQ(fs::hard_link_count(inside("second")), 2u);
  CopiedEntry third = file("third");
  third.hardlink = "nowhere";
  ASSERT_TRUE(add(third));
  EXPECT_EQ(losses_, std::vector<std::string>{"third"});
}

TEST_F(DirectoryTargetTest, LinksToNothingThatWasThereBefore) {
  write(inside("first"), "mine");
  CopiedEntry first = file("first"), second = file("second");
  first.attributes.nlink = 2;
  second.hardlink = "first";
  ASSERT_FALSE(add(first, "theirs"));
  target_->failed(first);
  ASSERT_TRUE(add(second));
  EXPECT_FALSE(fs::exists(inside("second")));
  EXPECT_EQ(losses_, std::vector<std::string>{"second"});
}

// Takes away what root may.
class AsNobody {
 public:
  AsNobody() { changed_ = geteuid() == 0 && seteuid(65534) == 0; }
  ~AsNobody() {
    if (changed_) (void)!seteuid(0);
  }

 private:
  bool changed_;
};

TEST_F(DirectoryTargetTest, ComesBackToDirectoriesThatForbidIt) {
  fs::permissions(directory_.path(), fs::perms::all);
  AsNobody nobody;
  const std::string top = directory_.path() + "/nobodys";
  target_ = std::move(*DirectoryTarget::open(top, {}, lost_));
  CopiedEntry closed = entry("a", S_IFDIR | 0400), inner = entry("a/b", S_IFDIR | 0500);
  ASSERT_TRUE(add(closed));
  ASSERT_TRUE(add(inner));
  ASSERT_TRUE(add(directory("other")));  // completes both
  auto late = add(file("a/b/late"), "text");
  ASSERT_TRUE(late) << late.error().message();
  ASSERT_TRUE(add(directory("a/new")));
  ASSERT_TRUE(add(symlink("a/b/link", "late")));
  ASSERT_TRUE(target_->finish());
  target_.reset();
  struct stat status;
  ASSERT_EQ(stat((top + "/a").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0400u);
  fs::permissions(top + "/a", fs::perms::owner_all);
  ASSERT_EQ(stat((top + "/a/b").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0500u);
  EXPECT_EQ(read(top + "/a/b/late"), "text");
  EXPECT_TRUE(losses_.empty());
}

TEST_F(DirectoryTargetTest, LeavesHolesForWhatIsNotKnown) {
  std::string contents(3 * 65536, 'x');
  std::vector<DataReader::Failure> failures;
  failures.push_back({65536, 65536, Error(karst::err::io, "bad")});
  ASSERT_TRUE(add(file("a"), contents, failures));
  std::string expected = contents;
  std::fill_n(expected.begin() + 65536, 65536, '\0');
  EXPECT_EQ(read(inside("a")), expected);
  const int fd = ::open(inside("a").c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(lseek(fd, 0, SEEK_HOLE), 65536);
  close(fd);
}

// Stands for a file system with smaller files.
class SizeLimit {
 public:
  explicit SizeLimit(rlim_t bytes) : before_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, before_);
  }

 private:
  rlimit old_{};
  void (*before_)(int);
};

TEST_F(DirectoryTargetTest, KeepsOfALargeFileWhatTheTargetTakes) {
  const SizeLimit limit(150'000);
  std::string contents(200'000, 'x');
  contents[149'999] = 'y';
  CopiedEntry small = file("small"), large = file("large"), holes = file("holes");
  small.sparse = true;
  small.data = {{0, 65536}, {131'072, 68'928}};
  ASSERT_TRUE(add(small, contents));
  EXPECT_EQ(read(inside("small")).size(), 150'000u);
  EXPECT_EQ(read(inside("small")).back(), 'y');
  EXPECT_EQ(read(inside("small"))[100'000], '\0');
  EXPECT_THAT(ranges_, ElementsAre("range small 150000+50000"));

  for (CopiedEntry* entry : {&large, &holes}) {
    entry->attributes.size = 1 << 20;
    ASSERT_TRUE(target_->prepare(*entry));
  }
  EXPECT_THAT(ranges_, ElementsAre(_, "range large 150000+898576", "range holes 150000+898576"));
  ranges_.clear();
  for (uint64_t offset : {0ull, 131'072ull, 262'144ull}) {
    auto part = target_->new_part();
    ASSERT_TRUE(target_->add_piece(*part, large, offset, as_bytes(contents).first(131'072), {}, false));
    ASSERT_TRUE(target_->take(*part));
  }
  EXPECT_EQ(read(inside("large")), std::string(150'000, 'x'));
  EXPECT_EQ(read(inside("holes")), std::string(150'000, '\0'));
  EXPECT_THAT(ranges_, IsEmpty());
}

TEST_F(DirectoryTargetTest, ReachesPathsLongerThanTheSystemTakesAtOnce) {
  std::string path;
  for (int depth = 0; depth < 100; ++depth) {
    path += (depth ? "/" : "") + std::string(100, 'd');
    ASSERT_TRUE(add(directory(path)));
  }
  EXPECT_TRUE(add(file(path + "/file"), "text"));
  EXPECT_TRUE(target_->finish());
  EXPECT_TRUE(losses_.empty());
}

}  // namespace
}  // namespace karst::btrfs::testing

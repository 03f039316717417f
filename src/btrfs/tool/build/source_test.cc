// Archives, OCI layouts and plans, read as a build reads them.
#include "btrfs/tool/build/source.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/posix_acl.h"
#include "btrfs/tool/build/testing_inventory.h"

namespace karst::btrfs::build {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace testing;

// Writes archives, entry by entry.
class TestArchive {
 public:
  explicit TestArchive(int (*format)(archive*) = ::archive_write_set_format_pax,
                       int (*filter)(archive*) = ::archive_write_add_filter_none)
      : archive_(::archive_write_new()) {
    format(archive_);
    filter(archive_);
    ::archive_write_set_bytes_in_last_block(archive_, 1);
    ::archive_write_open(archive_, this, nullptr, on_write, nullptr);
  }
  using Change = std::function<void(archive_entry*)>;
  TestArchive& add(const char* path, mode_t mode, std::string_view content = "", const Change& change = {}) {
    archive_entry* entry = ::archive_entry_new();
    ::archive_entry_set_pathname(entry, path);
    ::archive_entry_set_mode(entry, mode);
    ::archive_entry_set_mtime(entry, 1000, 5);
    if (S_ISLNK(mode)) ::archive_entry_set_symlink(entry, std::string(content).c_str());
    ::archive_entry_set_size(entry, S_ISREG(mode) ? static_cast<la_int64_t>(content.size()) : 0);
    if (change) change(entry);
    EXPECT_GE(::archive_write_header(archive_, entry), ARCHIVE_WARN) << ::archive_error_string(archive_);
    if (S_ISREG(mode)) ::archive_write_data(archive_, content.data(), content.size());
    ::archive_entry_free(entry);
    return *this;
  }
  TestArchive& file(const char* path, std::string_view content) { return add(path, S_IFREG | 0644, content); }
  TestArchive& dir(const char* path) { return add(path, S_IFDIR | 0755); }
  TestArchive& link(const char* path, const char* target) {
    return add(path, S_IFREG | 0644, "",
               [&](archive_entry* entry) { ::archive_entry_set_hardlink(entry, target); });
  }
  std::string bytes() {
    if (archive_) ::archive_write_free(archive_);
    archive_ = nullptr;
    return bytes_;
  }

 private:
  static la_ssize_t on_write(archive*, void* self, const void* bytes, size_t size) {
    static_cast<TestArchive*>(self)->bytes_.append(static_cast<const char*>(bytes), size);
    return static_cast<la_ssize_t>(size);
  }
  archive* archive_;
  std::string bytes_;
};

std::string sha256(std::string_view text) {
  unsigned char hash[32];
  EVP_Digest(text.data(), text.size(), hash, nullptr, EVP_sha256(), nullptr);
  std::string hex;
  for (unsigned char byte : hash) hex += fmt::format("{:02x}", byte);
  return hex;
}

class SourceTest : public ::testing::Test {
 protected:
  SourceTest() {
    std::string name = ::testing::TempDir() + "karst-source-XXXXXX";
    root_ = ::mkdtemp(name.data());
    pool_ = WorkerPool::create({.threads = 2}).value();
  }
  ~SourceTest() override { fs::remove_all(root_); }

  std::string write(const std::string& name, std::string_view bytes) {
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name, std::ios::binary) << bytes;
    return root_ / name;
  }
  // Reads what was given, as SourceSpec::parse has it.
  Result<Layout> build(const std::vector<std::string>& arguments) {
    std::vector<SourceSpec> specs;
    for (const std::string& argument : arguments) specs.push_back(SourceSpec::parse(argument));
    return build_specs(specs);
  }
  Result<Layout> build_specs(const std::vector<SourceSpec>& specs) {
    sources_.emplace(TRY(SourceSet::open(specs, options_)));
    Inventory inventory = TRY(Inventory::create(
        {.temporary_directory = ::testing::TempDir(), .default_time = {500}, .errors = options_.errors},
        sources_->declarations()));
    TRY(sources_->read(inventory, store_, *pool_));
    return inventory.finish(&store_);
  }
  std::vector<std::string> lines(const std::vector<std::string>& arguments) {
    auto layout = build(arguments);
    if (!layout) return {layout.error().message()};
    return walk_lines(*layout, &store_);
  }
  std::vector<std::string> plan_lines(const std::string& entries) {
    return lines({write("plan.json", R"({"version": 1, "entries": [)" + entries + "]}")});
  }
  std::string plan_error(const std::string& entries) {
    auto layout = build({write("plan.json", R"({"version": 1, "entries": [)" + entries + "]}")});
    if (layout) return "no error";
    EXPECT_TRUE(layout.error().is(err::source_plan)) << layout.error().message();
    return layout.error().message();
  }

  fs::path root_;
  std::unique_ptr<WorkerPool> pool_;
  MemoryStore store_;
  SourceOptions options_;
  std::optional<SourceSet> sources_;
};

TEST_F(SourceTest, AnArchivesEntriesAndTheParentsItLeavesOut) {
  TestArchive tar;
  tar.file("./a/b/file", "content").add("./a/link", S_IFLNK | 0777, "b/file").link("./hard", "./a/b/file");
  tar.add("/dev/null", S_IFCHR | 0666, "", [](archive_entry* entry) {
    ::archive_entry_set_rdevmajor(entry, 1);
    ::archive_entry_set_rdevminor(entry, 3);
  });
  EXPECT_THAT(lines({write("t.tar", tar.bytes())}),
              ElementsAre("5:256 / 40755 0 [a=257 dev=258 hard=259]", "5:257 /a 40755 0 [b=260 link=261]",
                          "5:258 /dev 40755 0 [null=262]", "5:259 /hard,/a/b/file 100644 0 content",
                          "5:260 /a/b 40755 0 [file=259]", "5:261 /a/link 120777 0 b/file",
                          "5:262 /dev/null 20666 0"));
}

TEST_F(SourceTest, EveryFormatAndFilterIsReadAlike) {
  struct Kind {
    const char* name;
    int (*format)(archive*);
    int (*filter)(archive*);
  };
  for (const Kind& kind :
       {Kind{"pax.gz", ::archive_write_set_format_pax, ::archive_write_add_filter_gzip},
        Kind{"ustar.zst", ::archive_write_set_format_ustar, ::archive_write_add_filter_zstd},
        Kind{"gnutar.xz", ::archive_write_set_format_gnutar, ::archive_write_add_filter_xz},
        Kind{"newc", ::archive_write_set_format_cpio_newc, ::archive_write_add_filter_none}}) {
    TestArchive archive(kind.format, kind.filter);
    archive.dir("d").file("d/f", "content");
    EXPECT_THAT(
        lines({write(kind.name, archive.bytes())}),
        ElementsAre("5:256 / 40755 0 [d=257]", "5:257 /d 40755 0 [f=258]", "5:258 /d/f 100644 0 content"))
        << kind.name;
  }
}

TEST_F(SourceTest, CpioHasTheDataOfAHardLinkWithOneOfItsNames) {
  TestArchive cpio(::archive_write_set_format_cpio_newc);
  auto linked = [](archive_entry* entry) {
    ::archive_entry_set_ino64(entry, 7);
    ::archive_entry_set_nlink(entry, 3);
  };
  cpio.add("a", S_IFREG | 0644, "", linked).add("b", S_IFREG | 0644, "", linked);
  cpio.add("c", S_IFREG | 0644, "content", linked);
  EXPECT_THAT(lines({write("t.cpio", cpio.bytes())}),
              ElementsAre("5:256 / 40755 0 [a=257 b=257 c=257]", "5:257 /a,/b,/c 100644 0 content"));
}

TEST_F(SourceTest, AttributesOfArchivesSurvive) {
  TestArchive tar;
  tar.add("f", S_IFREG | 04750, "x", [](archive_entry* entry) {
    ::archive_entry_set_uid(entry, 3'000'000'000);
    ::archive_entry_set_gid(entry, 7);
    ::archive_entry_set_mtime(entry, -5, 123456789);
    ::archive_entry_set_atime(entry, 77, 1);
    ::archive_entry_xattr_add_entry(entry, "security.capability", "\0\1\2", 3);
    ::archive_entry_acl_add_entry(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, 6, ARCHIVE_ENTRY_ACL_USER, 1000, "");
    ::archive_entry_acl_add_entry(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, 7, ARCHIVE_ENTRY_ACL_USER_OBJ, -1,
                                  "");
    ::archive_entry_acl_add_entry(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, 5, ARCHIVE_ENTRY_ACL_GROUP_OBJ, -1,
                                  "");
    ::archive_entry_acl_add_entry(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, 5, ARCHIVE_ENTRY_ACL_MASK, -1, "");
    ::archive_entry_acl_add_entry(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS, 0, ARCHIVE_ENTRY_ACL_OTHER, -1, "");
  });
  const Layout layout = build({write("t.tar", tar.bytes())}).value();
  Walk walk = layout.walk();
  ASSERT_TRUE(walk.next_subvolume().value());
  ASSERT_TRUE(walk.next().value());
  const Inode* inode = walk.next().value();
  ASSERT_TRUE(inode);
  EXPECT_EQ(inode->attributes.uid, 3'000'000'000u);
  EXPECT_EQ(inode->attributes.gid, 7u);
  EXPECT_EQ(inode->attributes.mtime, (Time{-5, 123456789}));
  EXPECT_EQ(inode->attributes.atime, (Time{77, 1}));
  ASSERT_EQ(inode->xattrs.size(), 2u);
  EXPECT_EQ(inode->xattrs[0].name, "security.capability");
  EXPECT_EQ(inode->xattrs[0].value, std::string("\0\1\2", 3));
  EXPECT_EQ(inode->xattrs[1].name, acl_access_xattr);
  EXPECT_EQ(inode->xattrs[1].value->size(), 4u + 5 * 8);
}

// Users and groups in access lists, as each tar writes them: GNU tar names alone, bsdtar numbers as well.
class AclNames : public SourceTest {
 protected:
  static std::string archive(const char* name) {
    return fmt::format("{}/tests/data/acl/{}.tar.gz", KARST_SOURCE_DIR, name);
  }
  // The access list of the archives' file, the default one of their directory.
  std::vector<std::string> lists(const char* name) {
    std::vector<std::string> found;
    const Layout layout = build({archive(name)}).value();
    Walk walk = layout.walk();
    EXPECT_TRUE(walk.next_subvolume().value());
    while (const Inode* inode = walk.next().value())
      for (const XattrChange& xattr : inode->xattrs) found.push_back(xattr.name + "=" + *xattr.value);
    return found;
  }
  void know(const char* users, const char* groups) {
    options_.acl_names = IdNames::create(write("passwd", users), write("group", groups), false).value();
  }
  const std::vector<std::string> expected_{
      std::string(acl_default_xattr) + "=" + encoded("u::rwx,u:7001:rwx,g::rx,m::rwx,o::-"),
      std::string(acl_access_xattr) + "=" + encoded("u::rw,u:4242:x,u:7001:rw,g::r,g:7002:r,m::rwx,o::-")};

 private:
  static std::string encoded(const char* text) {
    return encode_acl(parse_acl(text, [](std::string_view, bool) { return std::nullopt; }).value()).value();
  }
};

TEST_F(AclNames, AreLookedUpWhereTheArchiveHasNoNumbers) {
  know("root:x:0:0::/:\n# none\n\nalice:x:7001:7001:Alice:/home/alice:/bin/sh\n", "crew:x:7002:alice\n+\n");
  EXPECT_EQ(lists("gnu-tar-1.34"), expected_);
}

TEST_F(AclNames, AreNotLookedUpWhereItHas) {
  EXPECT_EQ(lists("bsdtar-3.6.2"), expected_);
  know("alice:x:1:1::/:\n", "crew:x:2:\n");
  EXPECT_EQ(lists("bsdtar-3.6.2"), expected_);
}

TEST_F(AclNames, ThatNobodyKnowsAreRefused) {
  for (const auto& [users, groups, missing] : std::vector<std::array<const char*, 3>>{
           {"bob:x:1:1::/:\n", "crew:x:7002:\n", "the user alice"},
           {"alice:x:7001:7001::/:\n", "alice:x:7002:\n", "the group crew"}}) {
    know(users, groups);
    auto layout = build({archive("gnu-tar-1.34")});
    ASSERT_FALSE(layout);
    EXPECT_TRUE(layout.error().is(err::source_acl));
    EXPECT_THAT(layout.error().message(), HasSubstr(missing));
  }
  options_.acl_names = IdNames();
  EXPECT_FALSE(build({archive("gnu-tar-1.34")}));
}

TEST_F(AclNames, OfThisMachineAreKnownIfItMayBeAsked) {
  const IdNames names = IdNames::create("", "", true).value();
  EXPECT_EQ(names.find("root", false), 0u);
  EXPECT_EQ(names.find("root", true), 0u);
  EXPECT_EQ(names.find("no such user", false), std::nullopt);
  EXPECT_EQ(IdNames::create("", "", false).value().find("root", false), std::nullopt);
  EXPECT_TRUE(IdNames().knows_none());
}

TEST_F(AclNames, InAFileThatIsNoneAreRefusedWithTheLine) {
  auto names = IdNames::create(write("passwd", "root:x:0:0::/:\nalice:x\n"), "", false);
  ASSERT_FALSE(names);
  EXPECT_THAT(names.error().message(), HasSubstr("passwd:2"));
}

TEST_F(SourceTest, NamesAreBytes) {
  TestArchive tar;
  tar.file("gr\xc3\xbc\xc3\x9f", "utf-8");
  const auto found = lines({write("t.tar", tar.bytes())});
  EXPECT_THAT(found, Contains("5:257 /gr\xc3\xbc\xc3\x9f 100644 0 utf-8"));
}

TEST_F(SourceTest, PathsThatLeaveTheRootAndLongNamesAreRefusedByName) {
  for (const auto& [path, kind] : std::vector<std::pair<std::string, const ErrorKind*>>{
           {"../evil", &err::source_path_invalid},
           {"a/../../evil", &err::source_path_invalid},
           {std::string(256, 'n'), &err::source_name_too_long}}) {
    TestArchive tar;
    tar.file(path.c_str(), "x").file("good", "y");
    const std::string name = write("t.tar", tar.bytes());
    auto layout = build({name});
    ASSERT_FALSE(layout);
    EXPECT_TRUE(layout.error().is(*kind)) << layout.error().message();
    EXPECT_THAT(layout.error().message(), HasSubstr(path.substr(0, 100)));
    SkipSourceErrors errors{Logger()};
    options_.errors = &errors;
    EXPECT_THAT(lines({name}), ElementsAre("5:256 / 40755 0 [good=257]", "5:257 /good 100644 0 y"));
    EXPECT_EQ(errors.count(), 1u);
    options_.errors = nullptr;
  }
}

TEST_F(SourceTest, AnArchiveThatBreaksOffIsAnErrorAndItsFileIsAbandoned) {
  TestArchive tar;
  tar.file("f", std::string(100'000, 'x'));
  auto layout = build({write("t.tar", tar.bytes().substr(0, 50'000))});
  ASSERT_FALSE(layout);
  EXPECT_TRUE(layout.error().is(err::source_archive)) << layout.error().message();
  EXPECT_EQ(store_.abandoned, 1);
}

TEST_F(SourceTest, AFullTargetIsTheStoresErrorEvenIfSourceErrorsAreSkipped) {
  TestArchive tar;
  tar.file("f", std::string(100'000, 'x'));
  store_.fail_after(1000);
  SkipSourceErrors errors{Logger()};
  options_.errors = &errors;
  auto layout = build({write("t.tar", tar.bytes())});
  ASSERT_FALSE(layout);
  EXPECT_TRUE(layout.error().is(karst::err::no_space));
}

TEST_F(SourceTest, SparseFilesOfArchivesKeepTheirHoles) {
  TestArchive tar;
  tar.add("sparse", S_IFREG | 0644, "", [](archive_entry* entry) {
    ::archive_entry_set_size(entry, 1 << 20);
    ::archive_entry_sparse_add_entry(entry, 1 << 19, 4);
  });
  EXPECT_TRUE(build({write("t.tar", tar.bytes())}));
  EXPECT_EQ(store_.contents.at(1).size(), size_t{1} << 20);
  EXPECT_EQ(store_.contents.at(1)[0], '.');  // a hole, not a zero that was written
}

TEST_F(SourceTest, StandardInputIsAnArchive) {
  TestArchive tar;
  tar.file("f", "x");
  UniqueFd in(::open(write("t.tar", tar.bytes()).c_str(), O_RDONLY)), before(::dup(0));
  ::dup2(in.get(), 0);
  const auto found = lines({"-"});
  ::dup2(before.get(), 0);
  EXPECT_THAT(found, ElementsAre("5:256 / 40755 0 [f=257]", "5:257 /f 100644 0 x"));
}

TEST_F(SourceTest, WhiteoutsApplyInLayersOnly) {
  TestArchive base, layer;
  base.file("gone", "1").file("opaque/old", "2").file("kept", "3").file("dir/x", "4");
  layer.file(".wh.gone", "").dir("opaque").file("opaque/new", "5").file("opaque/.wh..wh..opq", "");
  layer.file("dir/.wh.x", "").file(".wh..wh.plnk", "").file("dir/y", "6");
  const std::string one = write("1.tar", base.bytes()), two = write("2.tar", layer.bytes());
  EXPECT_THAT(lines({"oci-layer:" + one, "oci-layer:" + two}),
              ElementsAre("5:256 / 40755 0 [dir=257 kept=258 opaque=259]", "5:257 /dir 40755 0 [y=260]",
                          "5:258 /kept 100644 0 3", "5:259 /opaque 40755 0 [new=261]",
                          "5:260 /dir/y 100644 0 6", "5:261 /opaque/new 100644 0 5"));
  EXPECT_THAT(store_.released, ::testing::SizeIs(3));
  EXPECT_THAT(lines({two}), Contains(HasSubstr("/.wh.gone")));
}

class OciTest : public SourceTest {
 protected:
  std::string blob(std::string_view bytes) {
    const std::string hex = sha256(bytes);
    write("image/blobs/sha256/" + hex, bytes);
    return fmt::format(R"("digest": "sha256:{}", "size": {})", hex, bytes.size());
  }
  std::string image(std::string_view name) {
    TestArchive base(::archive_write_set_format_pax, ::archive_write_add_filter_gzip);
    TestArchive top(::archive_write_set_format_pax, ::archive_write_add_filter_zstd);
    base.file("name", name).file("gone", "x");
    top.file(".wh.gone", "");
    constexpr const char* type = "application/vnd.oci.image.layer.v1.tar+";
    return blob(fmt::format(R"({{"schemaVersion": 2, "layers": [{{"mediaType": "{}gzip", {}}},
                                 {{"mediaType": "{}zstd", {}}}]}})",
                            type, blob(base.bytes()), type, blob(top.bytes())));
  }
  void layout(const std::string& manifests) {
    write("image/oci-layout", R"({"imageLayoutVersion": "1.0.0"})");
    write("image/index.json", R"({"schemaVersion": 2, "manifests": [)" + manifests + "]}");
  }
  static std::string manifest(const std::string& blob, const std::string& more) {
    return R"({"mediaType": "application/vnd.oci.image.manifest.v1+json", )" + blob + ", " + more + "}";
  }
  std::string name_of(const std::string& platform, const std::string& reference = "") {
    SourceSpec spec;
    spec.location = root_ / "image";
    spec.oci_platform = platform;
    spec.oci_reference = reference;
    auto layout = build_specs({spec});
    if (!layout) return layout.error().message();
    return walk_lines(*layout, &store_).at(1);
  }
};

TEST_F(OciTest, TheImageForThePlatformIsFoundAndItsLayersApplied) {
  layout(manifest(image("amd64"), R"("platform": {"os": "linux", "architecture": "amd64"})") + "," +
         manifest(image("arm"), R"("platform": {"os": "linux", "architecture": "arm", "variant": "v7"})"));
  EXPECT_EQ(name_of("linux/amd64"), "5:257 /name 100644 0 amd64");
  EXPECT_EQ(name_of("linux/arm/v7"), "5:257 /name 100644 0 arm");
  EXPECT_EQ(name_of("linux/arm"), "5:257 /name 100644 0 arm");
  EXPECT_THAT(name_of("linux/arm/v6"), HasSubstr("0 images"));
  EXPECT_THAT(name_of("windows/amd64"), HasSubstr("source-oci"));
}

TEST_F(OciTest, ByReferenceAlsoThroughAnIndex) {
  const std::string inner =
      R"({"schemaVersion": 2, "manifests": [)" +
      manifest(image("inner"), R"("platform": {"os": "linux", "architecture": "amd64"})") + "]}";
  layout(R"({"mediaType": "application/vnd.oci.image.index.v1+json", "annotations":
             {"org.opencontainers.image.ref.name": "multi"}, )" +
         blob(inner) + "}," +
         manifest(image("single"), R"("annotations": {"org.opencontainers.image.ref.name": "one"})"));
  EXPECT_EQ(name_of("linux/amd64", "multi"), "5:257 /name 100644 0 inner");
  EXPECT_EQ(name_of("linux/amd64", "one"), "5:257 /name 100644 0 single");
  EXPECT_THAT(name_of("linux/amd64", "none"), HasSubstr("0 images"));
  EXPECT_THAT(name_of("linux/amd64"), HasSubstr("2 images"));
}

TEST_F(OciTest, AnIndexIsReadOnceHoweverOftenItIsNamed) {
  std::string names = manifest(image("deep"), R"("annotations": {})");
  for (int level = 0; level < 8; ++level) {
    const std::string index = R"({"schemaVersion": 2, "manifests": [)" + names + "]}";
    const std::string name =
        R"({"mediaType": "application/vnd.oci.image.index.v1+json", )" + blob(index) + "}";
    names = name;
    for (int n = 0; n < 40; ++n) names += "," + name;
  }
  layout(names);
  EXPECT_EQ(name_of("linux/amd64"), "5:257 /name 100644 0 deep");
}

TEST_F(OciTest, ABlobThatIsNotItsDigestIsRefused) {
  layout(manifest(image("x"), R"("annotations": {})"));
  for (const auto& blob : fs::directory_iterator(root_ / "image/blobs/sha256")) {
    const auto size = fs::file_size(blob);
    std::fstream file(blob.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(size - 1));
    const char last = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(size - 1));
    file.put(static_cast<char>(last ^ 1));
    file.flush();
    // A damaged filter or document may be noticed before the digest is known.
    EXPECT_THAT(name_of("linux/amd64"), ::testing::ContainsRegex("source-(digest|archive|oci)"))
        << blob.path();
    file.seekp(static_cast<std::streamoff>(size - 1));
    file.put(last);
  }
  EXPECT_THAT(name_of("linux/amd64"), HasSubstr("/name"));
}

TEST_F(OciTest, DigestsCannotNameFilesElsewhere) {
  layout(
      R"({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:../../../etc/passwd"})");
  EXPECT_THAT(name_of("linux/amd64"), HasSubstr("not a digest"));
}

TEST_F(SourceTest, APlanBuildsRootOwnedContentFromAnyonesFiles) {
  write("rootfs/etc/passwd", "root");
  write("extra.conf", "conf");
  fs::permissions(root_ / "extra.conf", fs::perms(0600));
  const auto found = plan_lines(R"(
      {"path": "/", "source": "rootfs", "recursive": {"owner": "0:0", "file_mode": "0444", "directory_mode": "0555"}},
      {"path": "/etc/extra.conf", "source": "extra.conf", "owner": "1:2", "mode": "0640"},
      {"path": "/etc/made", "type": "file", "content": {"base64": "AGhp"}, "mode": "0400"},
      {"path": "/dev/console", "type": "character", "device": "5:1", "mode": "0622"},
      {"path": "/run/pipe", "type": "fifo"},
      {"path": "/bin", "type": "symlink", "target": "usr/bin"},
      {"path": "/etc/again", "type": "hardlink", "target": "/etc/passwd"})");
  EXPECT_THAT(found,
              ElementsAre("5:256 / 40555 0 [bin=257 dev=258 etc=259 run=260]", "5:257 /bin 120777 0 usr/bin",
                          "5:258 /dev 40755 0 [console=261]",
                          "5:259 /etc 40555 0 [again=262 extra.conf=263 made=264 passwd=262]",
                          "5:260 /run 40755 0 [pipe=266]", "5:261 /dev/console 20622 0",
                          "5:262 /etc/again,/etc/passwd 100444 0", "5:263 /etc/extra.conf 100640 1",
                          std::string("5:264 /etc/made 100400 0 \0hi", 28), "5:266 /run/pipe 10644 0"));
}

TEST_F(SourceTest, APlanDeclaresSubvolumesSnapshotsAndProperties) {
  auto layout = build({write("plan.json", R"({"entries": [
      {"path": "/var", "subvolume": true, "compression": "zstd:3", "mode": "0700"},
      {"path": "/var/db", "type": "directory", "nodatacow": true},
      {"path": "/snapshots/var", "snapshot_of": "/var", "readonly": true},
      {"path": "/root", "type": "directory", "subvolume": true, "default_subvolume": true}], "version": 1})")});
  ASSERT_TRUE(layout) << layout.error().message();
  EXPECT_THAT(walk_lines(*layout),
              ElementsAre("5:256 / 40755 0 [root=subvolume-256 snapshots=257 var=subvolume-258]",
                          "5:257 /snapshots 40755 0 [var=subvolume-257]", "256:256 / 40755 0 []",
                          "258:256 / 40700 0 [db=257]", "258:257 /db 40755 0 []"));
  const auto& subvolumes = layout->subvolumes();
  EXPECT_TRUE(subvolumes[1].is_default);
  EXPECT_EQ(subvolumes[2].snapshot_of, 3u);
  EXPECT_TRUE(subvolumes[2].readonly);
}

TEST_F(SourceTest, APlanRemovesAndChangesWhatEarlierSourcesHave) {
  TestArchive tar;
  tar.file("a", "1").file("b/c", "2").file("d", "3");
  const std::string archive = write("t.tar", tar.bytes());
  EXPECT_THAT(
      lines({archive, write("plan.json", R"({"version": 1, "entries": [
                {"path": "b", "type": "remove"}, {"path": "b/new", "type": "file"},
                {"path": "d", "owner": "5:6", "xattrs": {"user.a": "v", "user.h": {"hex": "4142"}}}]})")}),
      ElementsAre("5:256 / 40755 0 [a=257 b=258 d=259]", "5:257 /a 100644 0 1", "5:258 /b 40755 0 [new=260]",
                  "5:259 /d 100644 5 3 user.a=v user.h=AB", "5:260 /b/new 100644 0"));
}

TEST_F(SourceTest, APlansMistakesAreNamedWithPathAndKey) {
  struct Mistake {
    const char* entry;
    const char* said;
  };
  for (const Mistake& mistake : {
           Mistake{R"({"path": "/a", "ownr": "0:0"})", R"(/a: "ownr": no such key)"},
           Mistake{R"({"path": "/a", "mode": 644})", R"(/a: "mode": must be a string)"},
           Mistake{R"({"path": "/a", "mode": "0999"})", R"(/a: "mode": must be octal)"},
           Mistake{R"({"path": "/a", "owner": "root"})", R"(/a: "owner": must be numbers)"},
           Mistake{R"({"path": "/../a"})", R"("path": )"},
           Mistake{R"({"mode": "0644"})", R"(entry 0: "path": missing)"},
           Mistake{R"({"path": "/a", "type": "door"})", R"("type": no such type)"},
           Mistake{R"({"path": "/a", "type": "file", "source": "x"})", R"("type": not with "source")"},
           Mistake{R"({"path": "/a", "type": "block", "device": "1"})", R"("device": must be)"},
           Mistake{R"({"path": "/a", "type": "symlink"})", R"("target": must be)"},
           Mistake{R"({"path": "/a", "type": "hardlink"})", R"("target": missing)"},
           Mistake{R"({"path": "/a", "mtime": "yesterday"})", R"("mtime": must be)"},
           Mistake{R"({"path": "/a", "xattrs": {"user.a": 5}})", R"("xattrs": user.a has no value)"},
           Mistake{R"({"path": "/a", "xattrs": {"nodot": "x"}})", R"("xattrs": not a full name)"},
           Mistake{R"({"path": "/a", "acl": "u::rwx"})", R"("acl": access control list)"},
           Mistake{R"({"path": "/a", "readonly": true})", R"("readonly": only of)"},
           Mistake{R"({"path": "/a", "compression": "zip"})", R"("compression": must be)"},
           Mistake{R"({"path": "/a", "compression": "zstd:16"})", R"("compression": no such level)"},
           Mistake{R"({"path": "/a", "nodatacow": true, "compression": "lzo"})", R"("nodatacow": not with)"},
           Mistake{R"({"path": "/a", "snapshot_of": "/b", "mode": "0755"})",
                   R"("snapshot_of": a snapshot has)"},
           Mistake{R"({"path": "/a", "path": "/b"})", R"(the key "path" twice)"},
           Mistake{R"({"path": "/a", "recursive": {}, "source": "x", "x": 1})", R"("x": no such key)"},
           Mistake{R"({"path": "/a", "source": "x", "recursive": {"mode": "0"}})",
                   R"("recursive": "mode": no such key)"},
           Mistake{R"(5)", R"("entries": each must be an object)"},
           Mistake{R"([{"path": "/a", "type": "file"}])", R"("entries": each must be an object)"},
           Mistake{R"({"path": "/a", "xattrs": {"com.apple.x": "x"}})", R"("xattrs": not a full name)"},
           Mistake{R"({"path": )", "parse error"},
       })
    EXPECT_THAT(plan_error(mistake.entry), HasSubstr(mistake.said)) << mistake.entry;
  EXPECT_THAT(lines({write("p.json", R"({"version": 2, "entries": []})")}),
              ElementsAre(HasSubstr("\"version\": must be 1")));
  EXPECT_THAT(lines({write("p.json", R"({"version": 1})")}),
              ElementsAre(HasSubstr("\"entries\": must be an array")));
  EXPECT_THAT(lines({write("p.json", R"({"version": 1, "entries": [], "more": 1})")}),
              ElementsAre(HasSubstr("\"more\": no such key")));
}

TEST_F(SourceTest, TheImageIsNoSource) {
  const std::string image = write("image", TestArchive().file("f", "x").bytes());
  struct stat status;
  ASSERT_EQ(::stat(image.c_str(), &status), 0);
  options_.exclude = {{status.st_dev, status.st_ino}};
  EXPECT_THAT(lines({image}), ElementsAre(HasSubstr("image: the image that is made cannot be")));
  EXPECT_THAT(plan_lines(R"({"path": "/a", "source": "image"})"),
              ElementsAre(HasSubstr("image: the image that is made cannot be")));
}

TEST_F(SourceTest, ChangingWhatIsNotThereIsAnError) {
  auto layout = build({write("plan.json", R"({"version": 1, "entries": [{"path": "/a", "mode": "0644"}]})")});
  ASSERT_FALSE(layout);
  EXPECT_TRUE(layout.error().is(err::source_missing_path));
}

// No crash, no hang: an error, or whatever the bytes mean now.
TEST_F(SourceTest, DamagedArchivesAndPlansAreReadOrRefused) {
  TestArchive pax, cpio(::archive_write_set_format_cpio_newc);
  for (TestArchive* archive : {&pax, &cpio})
    archive->dir("d")
        .file("d/f", std::string(3000, 'x'))
        .add("l", S_IFLNK | 0777, "d/f")
        .link("h", "d/f")
        .file(std::string(200, 'n').c_str(), "long");
  const std::string plan =
      R"({"version": 1, "entries": [{"path": "/a", "type": "file", "content": {"hex": "00"},
      "acl": "u::r,g::r,o::r,u:1:r", "mtime": "2024-02-29T12:00:00Z", "owner": "1:2", "xattrs": {"user.a": null}},
      {"path": "/s", "subvolume": true, "compression": "zstd:3"}, {"path": "/d", "type": "block", "device": "1:2"}]})";
  const std::pair<const char*, std::string> good[] = {
      {"tar:", pax.bytes()}, {"tar:", cpio.bytes()}, {"plan:", plan}};
  SkipSourceErrors errors{Logger()};
  int read = 0, refused = 0;
  for (const auto& [kind, bytes] : good)
    for (uint32_t seed = 1; seed <= 150; ++seed) {
      std::mt19937 random(seed);
      std::string damaged = bytes;
      for (uint32_t n = 1 + random() % 3; n > 0; --n)
        damaged[random() % damaged.size()] = static_cast<char>("0/.\0\xff\"{7 "[random() % 9]);
      if (random() % 8 == 0) damaged.resize(random() % damaged.size());
      options_.errors = random() % 2 ? &errors : nullptr;
      auto layout = build({kind + write("damaged", damaged)});
      if (!layout) {
        ++refused;
        continue;
      }
      ++read;
      (void)walk_lines(*layout, &store_);
    }
  EXPECT_GT(read, 20);
  EXPECT_GT(refused, 50);
}

TEST_F(SourceTest, AMissingSourceIsAnErrorWithItsName) {
  auto layout = build({root_ / "nothing"});
  ASSERT_FALSE(layout);
  EXPECT_THAT(layout.error().message(), HasSubstr("nothing"));
}

}  // namespace
}  // namespace karst::btrfs::build

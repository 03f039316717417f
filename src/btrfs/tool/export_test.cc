// Archives read back by another implementation, libarchive; tests/oracle does the same with GNU tar.
#include <archive.h>
#include <archive_entry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "btrfs/tool/export.h"
#include "btrfs/tool/pax_header.h"
#include "btrfs/tool/testing_image.h"
#include "core/endian.h"

namespace karst::btrfs::testing {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

struct Archive {
  std::string bytes;
  ExportReport report;
};

Result<Archive> export_whole(const Image& image, ExportOptions options = {}) {
  auto pool = TRY(WorkerPool::create({.name = "export", .threads = 2}));
  Archive archive;
  auto sink = [&](std::span<iovec> buffers) -> Result<void> {
    for (const iovec& buffer : buffers)
      archive.bytes.append(static_cast<const char*>(buffer.iov_base), buffer.iov_len);
    return {};
  };
  Located start = TRY(resolve(image.fs(), image.root(), ""));
  archive.report = TRY(export_tar(image, start, options, *pool, sink));
  return archive;
}

// libarchive's entries in the manifest's form, with "hardlink" beside it.
class ArchiveReader {
 public:
  explicit ArchiveReader(const std::string& bytes) : reader_(archive_read_new(), archive_read_free) {
    archive_read_support_format_tar(reader_.get());
    if (archive_read_open_memory(reader_.get(), bytes.data(), bytes.size()) != ARCHIVE_OK) fail();
  }

  Manifest read() {
    Manifest manifest;
    archive_entry* entry;
    int status;
    // A warning is given for names that are not UTF-8.
    while ((status = archive_read_next_header(reader_.get(), &entry)) == ARCHIVE_OK ||
           status == ARCHIVE_WARN) {
      Json found = describe(entry);
      std::string path = found["path"];
      if (manifest.contains(path)) throw std::runtime_error("twice in the archive: " + path);
      manifest[path] = found;
    }
    if (status != ARCHIVE_EOF) fail();
    return manifest;
  }

 private:
  void fail() { throw std::runtime_error(archive_error_string(reader_.get()) ?: "libarchive"); }

  static std::string absolute(const char* path) {
    std::string_view text = path ? path : "(none)";
    if (text.starts_with("./")) text.remove_prefix(2);
    while (text.ends_with('/')) text.remove_suffix(1);
    return "/" + escape(text);
  }
  static std::string time(time_t seconds, long nanoseconds) { return time_text({seconds, nanoseconds}); }

  // The kernel's form of an ACL, whose entries are in the order of tags and ids.
  static std::string acl_of(archive_entry* entry, int type) {
    struct AclEntry {
      le16 tag, perm;
      le32 id;
    };
    const std::map<int, uint16_t> tags = {{ARCHIVE_ENTRY_ACL_USER_OBJ, 1},  {ARCHIVE_ENTRY_ACL_USER, 2},
                                          {ARCHIVE_ENTRY_ACL_GROUP_OBJ, 4}, {ARCHIVE_ENTRY_ACL_GROUP, 8},
                                          {ARCHIVE_ENTRY_ACL_MASK, 0x10},   {ARCHIVE_ENTRY_ACL_OTHER, 0x20}};
    std::vector<AclEntry> list;
    archive_entry_acl_reset(entry, type);
    int found_type, permset, tag, qualifier;
    const char* name;
    while (archive_entry_acl_next(entry, type, &found_type, &permset, &tag, &qualifier, &name) == ARCHIVE_OK)
      list.push_back({tags.at(tag), static_cast<uint16_t>(permset), static_cast<uint32_t>(qualifier)});
    std::sort(list.begin(), list.end(), [](const AclEntry& a, const AclEntry& b) {
      return std::pair(a.tag.value(), a.id.value()) < std::pair(b.tag.value(), b.id.value());
    });
    std::string text = hex(bytes_of(le32(2)));
    for (const AclEntry& acl : list) text += hex(bytes_of(acl));
    return text;
  }

  static std::string unquote(std::string name) {
    for (auto [quoted, plain] : {std::pair{"%3D", "="}, std::pair{"%25", "%"}})
      for (size_t at = 0; (at = name.find(quoted, at)) != std::string::npos; ++at) name.replace(at, 3, plain);
    return name;
  }

  Json describe(archive_entry* entry) {
    const mode_t mode = archive_entry_mode(entry);
    Json found = {{"path", absolute(archive_entry_pathname(entry))},
                  {"mode", fmt::format("{:04o}", mode & 07777)},
                  {"uid", archive_entry_uid(entry)},
                  {"gid", archive_entry_gid(entry)},
                  {"mtime", time(archive_entry_mtime(entry), archive_entry_mtime_nsec(entry))},
                  {"ctime", time(archive_entry_ctime(entry), archive_entry_ctime_nsec(entry))}};
    if (const char* link = archive_entry_hardlink(entry)) {
      found["hardlink"] = absolute(link);
      return found;
    }
    found["type"] = type_name(mode);
    found["xattrs"] = Json::object();
    archive_entry_xattr_reset(entry);
    const char* name;
    const void* value;
    size_t size;
    while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK)
      found["xattrs"][escape(unquote(name))] = hex({static_cast<const std::byte*>(value), size});
    const int acls = archive_entry_acl_types(entry);
    if (acls & ARCHIVE_ENTRY_ACL_TYPE_ACCESS)
      found["xattrs"]["system.posix_acl_access"] = acl_of(entry, ARCHIVE_ENTRY_ACL_TYPE_ACCESS);
    if (acls & ARCHIVE_ENTRY_ACL_TYPE_DEFAULT)
      found["xattrs"]["system.posix_acl_default"] = acl_of(entry, ARCHIVE_ENTRY_ACL_TYPE_DEFAULT);
    if (S_ISLNK(mode)) found["target"] = escape(archive_entry_symlink(entry) ?: "(none)");
    if (S_ISCHR(mode) || S_ISBLK(mode))
      found["rdev"] = fmt::format("{}:{}", archive_entry_rdevmajor(entry), archive_entry_rdevminor(entry));
    if (S_ISREG(mode)) describe_file(entry, found);
    return found;
  }

  void describe_file(archive_entry* entry, Json& found) {
    const la_int64_t length = archive_entry_size(entry);
    found["size"] = length;
    Json map = Json::array();
    if (archive_entry_sparse_reset(entry) == 0) {
      if (length > 0) map.push_back({0, length});
    } else {
      la_int64_t offset, size;
      while (archive_entry_sparse_next(entry, &offset, &size) == ARCHIVE_OK)
        if (size > 0) map.push_back({offset, offset + size});
    }
    found["map"] = map;
    Sha256 digest;
    static const std::vector<std::byte> zeroes(1 << 20);
    la_int64_t position = 0;
    auto skip_to = [&](la_int64_t to) {
      for (; position < to; position += std::min<la_int64_t>(to - position, 1 << 20))
        digest.add(Bytes(zeroes).first(static_cast<size_t>(std::min<la_int64_t>(to - position, 1 << 20))));
    };
    const void* data;
    size_t size;
    la_int64_t offset;
    int status;
    while ((status = archive_read_data_block(reader_.get(), &data, &size, &offset)) == ARCHIVE_OK) {
      skip_to(offset);
      digest.add({static_cast<const std::byte*>(data), size});
      position += static_cast<la_int64_t>(size);
    }
    if (status != ARCHIVE_EOF) fail();
    skip_to(length);
    found["sha256"] = digest.text();
  }

  std::unique_ptr<archive, int (*)(archive*)> reader_;
};

// What an archive can say of the manifest's entry.
Json archived_form(Json entry) {
  for (const char* field : {"ino", "subvolid", "nlink", "btime", "blocks", "unreadable", "read_error"})
    entry.erase(field);
  if (entry["type"] != "file") entry.erase("size");
  // libarchive takes the group's bits of the mode from the group's own ACL entry, not from the mask; and it
  // adds the fraction of a time before 1970 where it should subtract it. GNU tar is right in both
  // (tests/oracle).
  if (entry["xattrs"].contains("system.posix_acl_access")) entry.erase("mode");
  for (const char* field : {"mtime", "ctime"})
    if (entry.contains(field) && entry[field].get<std::string>().starts_with('-') &&
        !entry[field].get<std::string>().ends_with(".000000000"))
      entry.erase(field);
  return entry;
}

std::vector<std::string> archive_differences(const Manifest& manifest, Manifest found) {
  std::vector<std::string> lines;
  std::map<std::pair<uint64_t, uint64_t>, std::string> first_names;
  for (const auto& [path, entry] : manifest) {
    if (entry["type"] == "sock") continue;
    auto ours = found.find(path);
    if (ours == found.end()) {
      lines.push_back(path + " is missing");
      continue;
    }
    if (ours->second.contains("hardlink")) {
      auto first = manifest.find(ours->second["hardlink"]);
      if (first == manifest.end() ||
          (entry.contains("ino") &&
           (first->second["ino"] != entry["ino"] || first->second["subvolid"] != entry["subvolid"])))
        lines.push_back(path + " is linked to " + ours->second["hardlink"].dump());
      if (found[ours->second["hardlink"]].contains("hardlink"))
        lines.push_back(path + " is linked to a link");
    } else {
      if (entry.contains("ino") && entry["type"] != "dir") {
        auto [first, inserted] = first_names.try_emplace({entry["subvolid"], entry["ino"]}, path);
        if (!inserted) lines.push_back(path + " should be linked to " + first->second);
      }
      const Json expected = archived_form(entry);
      for (const auto& [field, value] : expected.items())
        if (!ours->second.contains(field) || ours->second[field] != value)
          lines.push_back(fmt::format("{}: {} is {}, expected {}", path, field,
                                      ours->second.contains(field) ? ours->second[field].dump() : "absent",
                                      value.dump()));
    }
    found.erase(ours->first);
    found[path] = Json{{"seen", true}};
  }
  for (const auto& [path, entry] : found)
    if (!entry.contains("seen")) lines.push_back(path + " is not in the manifest");
  return lines;
}

class EveryArchive : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Images, EveryArchive, ::testing::ValuesIn(image_names()), [](const auto& parameter) {
  std::string name = parameter.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

TEST_P(EveryArchive, HoldsWhatTheKernelShows_BT010_BT055_BT059_BT061_BT065) {
  if (GetParam() == "lost-tree-root") GTEST_SKIP() << "needs a backup root";
  UnpackedImage files(GetParam());
  cache::Cache cache;
  MemorySink log;
  auto image = Image::open(files.options(), cache, Logger(log));
  ASSERT_TRUE(image) << image.error().message();
  auto archive = export_whole(**image);
  ASSERT_TRUE(archive) << archive.error().message();
  EXPECT_EQ(archive->bytes.size() % 10240, 0u);
  const Manifest manifest = files.manifest();
  EXPECT_EQ(joined(archive_differences(manifest, ArchiveReader(archive->bytes).read())), "");

  uint64_t sockets = 0, unreadable = 0;
  for (const auto& [path, entry] : manifest) {
    sockets += entry["type"] == "sock";
    if (entry.contains("unreadable")) unreadable += entry["unreadable"].size();
  }
  EXPECT_EQ(archive->report.sockets, sockets);
  EXPECT_EQ(archive->report.errors, unreadable);
  EXPECT_EQ(archive->report.entries, manifest.size() - sockets);
  if (unreadable > 0) {
    EXPECT_THAT(log.lines(),
                Contains(HasSubstr("a range of a file cannot be read and is zeroes in the archive")));
  }
}

TEST(Export, GivesTheSameBytesWithLittleMemory) {
  UnpackedImage files("everything");
  cache::Cache cache;
  auto image = Image::open(files.options(), cache, Logger());
  ASSERT_TRUE(image);
  auto plenty = export_whole(**image), little = export_whole(**image, {.memory = 1});
  ASSERT_TRUE(plenty && little);
  EXPECT_TRUE(plenty->bytes == little->bytes);
}

TEST(Export, EndsWithTheErrorOfTheSink) {
  UnpackedImage files("single-1");
  cache::Cache cache;
  auto image = Image::open(files.options(), cache, Logger());
  ASSERT_TRUE(image);
  auto pool = WorkerPool::create({.name = "export", .threads = 2});
  auto sink = [](std::span<iovec>) -> Result<void> { return Error(karst::err::no_space, "full"); };
  auto done = export_tar(**image, *resolve((*image)->fs(), (*image)->root(), ""), {}, **pool, sink);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().errno_value(), ENOSPC);
}

TEST(Export, EndsWhenCancelled) {
  UnpackedImage files("single-1");
  cache::Cache cache;
  auto image = Image::open(files.options(), cache, Logger());
  ASSERT_TRUE(image);
  CancelSource cancel;
  cancel.cancel();
  auto done = export_whole(**image, {.cancel = cancel.token()});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().errno_value(), ECANCELED);
}

// Headers by themselves: values that no checked-in image has.

TarEntry file_entry(std::string path, uint64_t size) {
  TarEntry entry;
  entry.path = std::move(path);
  entry.attributes = Attributes{};
  entry.attributes.mode = S_IFREG | 0644;
  entry.attributes.size = size;
  return entry;
}

Json read_back(const TarEntry& entry) {
  std::string bytes = *pax_header(entry);
  bytes.append(1024, '\0');
  std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  archive_read_support_format_tar(reader.get());
  archive_read_open_memory(reader.get(), bytes.data(), bytes.size());
  archive_entry* found;
  if (archive_read_next_header(reader.get(), &found) < ARCHIVE_WARN)
    throw std::runtime_error(archive_error_string(reader.get()));
  return {{"path", escape(archive_entry_pathname(found) ?: "(none)")},
          {"size", archive_entry_size(found)},
          {"uid", archive_entry_uid(found)},
          {"link", escape(archive_entry_symlink(found) ?: "")},
          {"mtime", fmt::format("{}.{:09}", archive_entry_mtime(found), archive_entry_mtime_nsec(found))}};
}

TEST(PaxHeader, IsWholeBlocks) {
  for (size_t length = 1; length < 600; ++length) {
    auto header = pax_header(file_entry(std::string(length, 'n'), 0));
    ASSERT_TRUE(header);
    EXPECT_EQ(header->size() % tar_block, 0u);
  }
}

TEST(PaxHeader, KeepsPathsOfEveryLength) {
  for (size_t length = 1; length < 600; ++length)
    for (const char* separator : {"", "/", "/dir/"}) {
      std::string path = std::string(length / 2 + 1, 'd') + separator + std::string(length - length / 2, 'n');
      EXPECT_EQ(read_back(file_entry(path, 0))["path"], path);
    }
}

TEST(PaxHeader, KeepsSizesAndOwnersOfEveryLength) {
  for (uint64_t size : {uint64_t{0}, uint64_t{077777777777}, uint64_t{0100000000000}, uint64_t{1} << 62})
    EXPECT_EQ(read_back(file_entry("f", size))["size"], size);
  for (uid_t uid : {0u, 07777777u, 010000000u, ~0u}) {
    TarEntry entry = file_entry("f", 0);
    entry.attributes.uid = uid;
    EXPECT_EQ(read_back(entry)["uid"], uid);
  }
}

TEST(PaxHeader, RefusesASizeThatNoReaderTakes_CO007) {
  for (uint64_t size : {uint64_t{1} << 63, ~uint64_t{0}}) {
    auto header = pax_header(file_entry("f", size));
    ASSERT_FALSE(header);
    EXPECT_TRUE(header.error().is(karst::err::limit));
  }
}

TEST(PaxHeader, WritesTimesBefore1970AsDecimalNumbers) {
  TarEntry entry = file_entry("f", 0);
  entry.attributes.mtime = {-2, 500'000'000};
  EXPECT_THAT(*pax_header(entry), HasSubstr(" mtime=-1.5\n"));
  entry.attributes.mtime = {-1, 999'999'999};
  EXPECT_THAT(*pax_header(entry), HasSubstr(" mtime=-0.000000001\n"));
  entry.attributes.mtime = {-1, 0};
  EXPECT_THAT(*pax_header(entry), HasSubstr(" mtime=-1\n"));
  entry.attributes.mtime = {INT64_MIN, 0};
  EXPECT_THAT(*pax_header(entry), HasSubstr(" mtime=-9223372036854775808\n"));
}

TEST(PaxHeader, WritesTheMapOfASparseFileBeforeItsData) {
  TarEntry entry = file_entry("f", 1'000'000);
  entry.sparse = true;
  EXPECT_THAT(*pax_header(entry), HasSubstr(std::string("1\n1000000\n0\n\0", 13)));
  entry.data = {{4096, 8192}};
  EXPECT_THAT(*pax_header(entry), HasSubstr("2\n4096\n8192\n1000000\n0\n"));
  entry.data = {{4096, 995'904}};
  EXPECT_THAT(*pax_header(entry), HasSubstr("1\n4096\n995904\n"));
}

TEST(PaxHeader, QuotesWhatWouldEndAnAttributesName) {
  TarEntry entry = file_entry("f", 0);
  entry.xattrs = {{"user.a=b%c", "v"}};
  EXPECT_THAT(*pax_header(entry), HasSubstr(" SCHILY.xattr.user.a%3Db%25c=v\n"));
}

}  // namespace
}  // namespace karst::btrfs::testing

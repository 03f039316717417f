// The images of tests/images that were cut off by a crash: with their log replayed they show what the
// kernel's mount shows, and without what it shows with rescue=nologreplay.
#include <gtest/gtest.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "btrfs/file/directory.h"
#include "btrfs/tool/open_image.h"
#include "core/checksum.h"

namespace karst::btrfs {
namespace {

namespace files = std::filesystem;

std::vector<std::string> log_images() {
  std::vector<std::string> names;
  for (const auto& entry : files::directory_iterator(KARST_SOURCE_DIR "/tests/images/data")) {
    std::string name = entry.path().filename();
    if (name.starts_with("log-") && name.ends_with(".tar.zst"))
      names.push_back(name.substr(0, name.find('.')));
  }
  std::sort(names.begin(), names.end());
  return names;
}

// "a\x2fb" as the bytes it stands for.
std::string unescaped(const std::string& text) {
  std::string bytes;
  for (size_t i = 0; i < text.size(); ++i) {
    int value = static_cast<unsigned char>(text[i]);
    if (text[i] == '\\') {
      std::from_chars(text.data() + i + 2, text.data() + i + 4, value, 16);
      i += 3;
    }
    bytes += static_cast<char>(value);
  }
  return bytes;
}

std::string time_text(timespec time) { return fmt::format("{}.{:09d}", time.tv_sec, time.tv_nsec); }

std::string hex(Bytes bytes) {
  std::string text;
  for (std::byte byte : bytes) text += fmt::format("{:02x}", static_cast<int>(byte));
  return text;
}

class LogImage : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    directory_ = files::temp_directory_path() / fmt::format("karst-{}-{}", GetParam(), ::getpid());
    files::create_directories(directory_);
    std::string command = fmt::format("tar --zstd -xf {}/tests/images/data/{}.tar.zst -C {}",
                                      KARST_SOURCE_DIR, GetParam(), directory_.string());
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  void TearDown() override { files::remove_all(directory_); }

  void compare(bool replay_log, const std::string& manifest_ending) {
    ImageOptions options;
    options.replay_log = replay_log;
    options.subvolid = id::fs_tree;
    for (const auto& entry : files::directory_iterator(directory_))
      if (entry.path().extension() == ".img") options.devices.push_back(entry.path());
    std::sort(options.devices.begin(), options.devices.end());
    auto image = Image::open(options, cache_, Logger());
    ASSERT_TRUE(image) << image.error().message();
    std::ifstream manifest(directory_ / (GetParam() + manifest_ending));
    ASSERT_TRUE(manifest);
    size_t paths = 0;
    for (std::string line; std::getline(manifest, line); ++paths)
      compare_path(**image, nlohmann::json::parse(line));
    EXPECT_EQ(count_paths(**image, (*image)->root()), paths);
  }

 private:
  void compare_path(const Image& image, const nlohmann::json& expected) {
    std::string path = unescaped(expected["path"]);
    auto found = resolve(image.fs(), image.root(), path);
    ASSERT_TRUE(found) << path << ": " << found.error().message();
    const Attributes& is = found->attributes;
    auto stat = is.to_stat(image.fs().geometry().sectorsize);
    EXPECT_EQ(is.inode, expected["ino"]) << path;
    EXPECT_EQ(fmt::format("{:04o}", is.mode & 07777), expected["mode"]) << path;
    EXPECT_EQ(stat.st_nlink, expected["nlink"]) << path;
    EXPECT_EQ(stat.st_size, expected["size"]) << path;
    EXPECT_EQ(stat.st_blocks, expected["blocks"]) << path;
    // A field that is not there says nothing.
    EXPECT_EQ(time_text(is.mtime), expected.value("mtime", time_text(is.mtime))) << path;
    EXPECT_EQ(time_text(is.ctime), expected.value("ctime", time_text(is.ctime))) << path;
    if (is.is_regular()) {
      EXPECT_EQ(digest(image, *found), expected["sha256"]) << path;
    }
  }

  static std::string digest(const Image& image, const Located& file) {
    DataReader reader(image.fs(), image.data());
    std::vector<std::byte> bytes(file.attributes.size);
    auto tree = image.fs().tree(file.id.subvolume);
    auto read = reader.read(*tree, file.attributes, 0, bytes);
    if (!read) return read.error().message();
    return hex(Bytes(compute_checksum(ChecksumType::sha256, bytes).bytes).first(32));
  }

  static size_t count_paths(const Image& image, InodeId directory) {
    if (directory.is_empty_subvolume()) return 1;
    size_t count = 1;
    DirectoryLister lister(image.fs(), *image.fs().tree(directory.subvolume), directory.inode);
    for (auto entry = lister.seek(0); entry && *entry; entry = lister.next())
      count += (*entry)->type == FileType::directory ? count_paths(image, (*entry)->target) : 1;
    return count;
  }

  files::path directory_;
  cache::Cache cache_;
};

TEST_P(LogImage, ShowsWhatTheKernelsReplayShows_BT005_BT006) { compare(true, ".manifest.jsonl"); }

TEST_P(LogImage, ShowsTheLastCommitWithoutReplay_BT005) { compare(false, ".norecovery.manifest.jsonl"); }

INSTANTIATE_TEST_SUITE_P(Images, LogImage, testing::ValuesIn(log_images()), [](const auto& image) {
  std::string name = image.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

}  // namespace
}  // namespace karst::btrfs

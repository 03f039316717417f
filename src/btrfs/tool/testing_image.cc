#include "btrfs/tool/testing_image.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <stdexcept>

#include "btrfs/file/xattr.h"
#include "btrfs/tool/walk.h"

namespace karst::btrfs::testing {

namespace {

constexpr std::string_view images_directory = KARST_SOURCE_DIR "/tests/images/data";
constexpr std::string_view archive_ending = ".tar.zst";

bool is_zero(const char* bytes, size_t size) {
  static constexpr char zeroes[4096] = {};
  return std::memcmp(bytes, zeroes, size) == 0;
}

// Writes the archive's files below `directory`, holes as holes.
void unpack_sparse(const std::string& file, const std::string& directory) {
  std::unique_ptr<archive, int (*)(archive*)> reader(archive_read_new(), archive_read_free);
  archive_read_support_filter_zstd(reader.get());
  archive_read_support_format_tar(reader.get());
  auto fail = [&] { throw std::runtime_error(file + ": " + (archive_error_string(reader.get()) ?: "")); };
  if (archive_read_open_filename(reader.get(), file.c_str(), 1 << 20) != ARCHIVE_OK) fail();
  archive_entry* entry;
  int status;
  while ((status = archive_read_next_header(reader.get(), &entry)) == ARCHIVE_OK) {
    if (archive_entry_filetype(entry) != AE_IFREG) continue;
    std::string path =
        directory + "/" + std::filesystem::path(archive_entry_pathname(entry)).filename().string();
    int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, archive_entry_size(entry)) != 0) throw std::runtime_error(path);
    const void* data;
    size_t size;
    la_int64_t offset;
    while ((status = archive_read_data_block(reader.get(), &data, &size, &offset)) == ARCHIVE_OK) {
      // The archive's own holes, and runs of zeroes beside them.
      for (size_t at = 0; at < size; at += 4096) {
        size_t some = std::min<size_t>(4096, size - at);
        const char* from = static_cast<const char*>(data) + at;
        if (is_zero(from, some)) continue;
        if (pwrite(fd, from, some, offset + static_cast<off_t>(at)) != static_cast<ssize_t>(some))
          throw std::runtime_error(path);
      }
    }
    close(fd);
    if (status != ARCHIVE_EOF) fail();
  }
  if (status != ARCHIVE_EOF) fail();
}

// The directory that the image is unpacked in. Each is unpacked once in a process, as most tests look at all
// of them, and is there until its end.
const std::string& unpacked_directory(const std::string& name) {
  static std::mutex mutex;
  static std::map<std::string, std::unique_ptr<TemporaryDirectory>> directories;
  const std::lock_guard lock(mutex);
  auto& directory = directories[name];
  if (!directory) {
    auto fresh = std::make_unique<TemporaryDirectory>();
    unpack_sparse(fmt::format("{}/{}{}", images_directory, name, archive_ending), fresh->path());
    directory = std::move(fresh);
  }
  return directory->path();
}

Manifest read_manifest(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error("no " + path);
  Manifest manifest;
  for (std::string line; std::getline(file, line);) {
    Json entry = Json::parse(line);
    manifest[entry["path"]] = entry;
  }
  return manifest;
}

// Content and map of a regular file, in the manifest's fields.
Result<void> describe_content(DataReader& reader, const Tree& tree, const Attributes& file, Json& entry) {
  Json map = Json::array();
  for (uint64_t at = 0; at < file.size;) {
    auto start = TRY(reader.seek_data(tree, file, at));
    if (!start) break;
    auto end = TRY(reader.seek_hole(tree, file, *start));
    map.push_back({*start, *end});
    at = *end;
  }
  entry["map"] = map;

  Sha256 digest;
  std::vector<DataReader::Failure> failures;
  // Pieces that begin and end anywhere, as a caller may ask for them.
  std::vector<std::byte> piece(std::min<uint64_t>(777'777, file.size + 1000));
  for (uint64_t at = 0; at < file.size;) {
    size_t some = TRY(reader.read_salvaging(tree, file, at, piece, failures));
    digest.add(Bytes(piece).first(some));
    at += some;
  }
  if (failures.empty()) {
    entry["sha256"] = digest.text();
    return {};
  }
  Json unreadable = Json::array();
  for (const auto& failure : failures) {
    if (!unreadable.empty() && unreadable.back()[1] == failure.offset)
      unreadable.back()[1] = failure.offset + failure.length;
    else
      unreadable.push_back({failure.offset, failure.offset + failure.length});
  }
  entry["unreadable"] = unreadable;
  std::byte byte;
  auto read = reader.read(tree, file, failures[0].offset, {&byte, 1});
  entry["read_error"] = read ? "none" : read.error().errno_value() == EIO ? "EIO" : read.error().message();
  return {};
}

Result<Json> describe(const Image& image, DataReader& reader, const WalkEntry& found) {
  const Filesystem& fs = image.fs();
  const Tree tree = TRY(fs.tree(found.id.subvolume));
  const Attributes& attributes = found.attributes;
  const struct stat status = attributes.to_stat(fs.geometry().sectorsize);
  Json entry = {
      {"path", "/" + escape(found.path)},
      {"type", type_name(attributes.mode)},
      {"ino", status.st_ino},
      {"subvolid", found.id.subvolume},
      {"mode", fmt::format("{:04o}", attributes.mode & 07777)},
      {"uid", status.st_uid},
      {"gid", status.st_gid},
      {"size", status.st_size},
      {"nlink", status.st_nlink},
      {"blocks", status.st_blocks},
      {"mtime", time_text(status.st_mtim)},
      {"ctime", time_text(status.st_ctim)},
      {"btime", time_text(attributes.otime)},
      {"xattrs", Json::object()},
  };
  if (S_ISCHR(attributes.mode) || S_ISBLK(attributes.mode))
    entry["rdev"] = fmt::format("{}:{}", major(status.st_rdev), minor(status.st_rdev));
  if (found.id.is_empty_subvolume()) return entry;
  Cursor cursor(tree);
  TRY(for_each_xattr(cursor, attributes.inode, [&](std::string_view name, Bytes value) -> Result<void> {
    entry["xattrs"][escape(name)] = hex(value);
    return {};
  }));
  if (attributes.is_symlink()) entry["target"] = escape(TRY(read_symlink(cursor, attributes)));
  if (attributes.is_regular()) TRY(describe_content(reader, tree, attributes, entry));
  return entry;
}

}  // namespace

TemporaryDirectory::TemporaryDirectory() {
  const char* base = std::getenv("TMPDIR");
  std::string pattern = std::string(base && *base ? base : KARST_BINARY_DIR) + "/karst-test-XXXXXX";
  if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp " + pattern);
  path_ = pattern;
  owner_ = getpid();
}

TemporaryDirectory::~TemporaryDirectory() {
  if (getpid() != owner_) return;  // a child that exits
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::vector<std::string> image_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(images_directory)) {
    std::string file = entry.path().filename();
    if (file.ends_with(archive_ending)) names.push_back(file.substr(0, file.size() - archive_ending.size()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

UnpackedImage::UnpackedImage(const std::string& name) : name_(name), directory_(unpacked_directory(name)) {
  std::ifstream file(base() + ".info.json");
  info_ = Json::parse(file);
  for (const Json& device : info_["devices"])
    devices_.push_back(directory_ + "/" + device["file"].get<std::string>());
}

Manifest UnpackedImage::manifest() const { return read_manifest(base() + ".manifest.jsonl"); }
Manifest UnpackedImage::norecovery_manifest() const {
  return read_manifest(base() + ".norecovery.manifest.jsonl");
}

ImageOptions UnpackedImage::options() const {
  ImageOptions options;
  options.devices = devices_;
  options.subvolid = id::fs_tree;
  return options;
}

std::string escape(std::string_view bytes) {
  std::string text;
  for (char c : bytes) {
    if (c >= ' ' && c <= '~' && c != '\\')
      text += c;
    else
      text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return text;
}

std::string hex(Bytes bytes) {
  std::string text;
  for (std::byte byte : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return text;
}

std::string time_text(timespec time) { return fmt::format("{}.{:09}", time.tv_sec, time.tv_nsec); }

void Sha256::add(Bytes bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }

std::string Sha256::text() {
  std::array<std::byte, 32> sum;
  EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(sum.data()), nullptr);
  return hex(sum);
}

const char* type_name(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "file";
    case S_IFDIR: return "dir";
    case S_IFLNK: return "symlink";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "sock";
    case S_IFCHR: return "chr";
    case S_IFBLK: return "blk";
  }
  return "unknown";
}

Result<Manifest> manifest_of(const Image& image) {
  Manifest manifest;
  DataReader reader(image.fs(), image.data());
  Walker walker(image.fs(), TRY(resolve(image.fs(), image.root(), "")));
  while (auto found = TRY(walker.next())) {
    Json entry =
        TRY(describe(image, reader, *found).context([&] { return fmt::format("'{}'", found->path); }));
    manifest[entry["path"]] = entry;
  }
  return manifest;
}

std::vector<std::string> differences(const Manifest& expected, const Manifest& found) {
  std::vector<std::string> lines;
  for (const auto& [path, entry] : expected) {
    auto ours = found.find(path);
    if (ours == found.end()) {
      lines.push_back(path + " is missing");
      continue;
    }
    for (const auto& [field, value] : entry.items()) {
      auto at = ours->second.find(field);
      if (at != ours->second.end() && *at == value) continue;
      lines.push_back(fmt::format("{}: {} is {}, expected {}", path, field,
                                  at == ours->second.end() ? "absent" : at->dump(), value.dump()));
    }
  }
  for (const auto& [path, entry] : found)
    if (!expected.contains(path)) lines.push_back(path + " is not in the manifest");
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (size_t i = 0; i < lines.size() && i < 20; ++i) text += lines[i] + "\n";
  if (lines.size() > 20) text += fmt::format("and {} more\n", lines.size() - 20);
  return text;
}

}  // namespace karst::btrfs::testing

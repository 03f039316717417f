#include "cli/output.h"

#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

#include "btrfs/format/text.h"
#include "core/printable.h"

namespace karst::cli {

const ErrorKind no_reader{"no-reader", nullptr, EPIPE};

Error output_error(int errno_value) {
  constexpr const char* what = "writing to standard output";
  return errno_value == EPIPE ? Error(no_reader, what) : Error::from_errno(errno_value, what);
}

namespace {

// A time whose year no calendar of the C library reaches is shown as "@seconds", as date(1) would take it.
std::string strftime_text(const char* format, const timespec& time, bool utc) {
  struct tm parts {};
  if (!(utc ? gmtime_r(&time.tv_sec, &parts) : localtime_r(&time.tv_sec, &parts)))
    return fmt::format("@{}", time.tv_sec);
  char text[64];
  return {text, strftime(text, sizeof text, format, &parts)};
}

}  // namespace

std::string shown_name(std::string_view name) {
  static const bool terminal = isatty(STDOUT_FILENO) != 0;
  return terminal ? printable(name) : std::string(name);
}

void print_problem(const Error& error) {
  fflush(stdout);
  fmt::print(stderr, "karst: {}\n", printable(error.message()));
}

void print_problem(std::string_view path, const Error& error) {
  fflush(stdout);
  fmt::print(stderr, "karst: {}: {}\n", printable(path), printable(error.message()));
}

void set_name(Json& object, const std::string& key, std::string_view name) {
  std::string valid;
  bool intact = btrfs::append_utf8(valid, name);
  object[key] = valid;
  if (intact) return;
  std::string hex;
  for (unsigned char c : name) fmt::format_to(std::back_inserter(hex), "{:02x}", c);
  object[key + "_hex"] = hex;
}

std::string mode_text(mode_t mode) {
  std::string text = "?rwxrwxrwx";
  switch (mode & S_IFMT) {
    case S_IFREG: text[0] = '-'; break;
    case S_IFDIR: text[0] = 'd'; break;
    case S_IFLNK: text[0] = 'l'; break;
    case S_IFCHR: text[0] = 'c'; break;
    case S_IFBLK: text[0] = 'b'; break;
    case S_IFIFO: text[0] = 'p'; break;
    case S_IFSOCK: text[0] = 's'; break;
  }
  for (unsigned bit = 0; bit < 9; ++bit)
    if (!(mode & (0400u >> bit))) text[1 + bit] = '-';
  if (mode & S_ISUID) text[3] = mode & S_IXUSR ? 's' : 'S';
  if (mode & S_ISGID) text[6] = mode & S_IXGRP ? 's' : 'S';
  if (mode & S_ISVTX) text[9] = mode & S_IXOTH ? 't' : 'T';
  return text;
}

const char* type_word(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG: return "regular file";
    case S_IFDIR: return "directory";
    case S_IFLNK: return "symbolic link";
    case S_IFCHR: return "character special file";
    case S_IFBLK: return "block special file";
    case S_IFIFO: return "fifo";
    case S_IFSOCK: return "socket";
    default: return "unknown";
  }
}

std::string time_text(const timespec& time) { return strftime_text("%Y-%m-%d %H:%M", time, false); }
std::string time_text_full(const timespec& time) {
  std::string second = strftime_text("%Y-%m-%d %H:%M:%S", time, false);
  std::string fraction = fmt::format(".{:09d}", time.tv_nsec);
  return second[0] == '@' ? second + fraction : second + fraction + " " + strftime_text("%z", time, false);
}
std::string time_json(const timespec& time) {
  std::string second = strftime_text("%Y-%m-%dT%H:%M:%S", time, true);
  return fmt::format("{}.{:09d}{}", second, time.tv_nsec, second[0] == '@' ? "" : "Z");
}

std::string size_text(uint64_t bytes) {
  static const char* const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  auto value = static_cast<double>(bytes);
  for (; value >= 1024 && unit + 1 < std::size(units); ++unit) value /= 1024;
  return fmt::format("{:.2f}{}", value, units[unit]);
}

std::string inode_flags_text(uint64_t flags) {
  namespace flag = btrfs::inode_flag;
  static const std::pair<uint64_t, const char*> names[] = {
      {flag::nodatasum, "NODATASUM"},
      {flag::nodatacow, "NODATACOW"},
      {flag::readonly, "READONLY"},
      {flag::nocompress, "NOCOMPRESS"},
      {flag::prealloc, "PREALLOC"},
      {flag::sync, "SYNC"},
      {flag::immutable, "IMMUTABLE"},
      {flag::append, "APPEND"},
      {flag::nodump, "NODUMP"},
      {flag::noatime, "NOATIME"},
      {flag::dirsync, "DIRSYNC"},
      {flag::compress, "COMPRESS"},
      {flag::root_item_init, "ROOT_ITEM_INIT"},
      {flag::ro_verity, "VERITY"},
  };
  std::string text;
  for (auto [bit, name] : names) {
    if (!(flags & bit)) continue;
    if (!text.empty()) text += '|';
    text += name;
    flags &= ~bit;
  }
  if (flags) text += fmt::format("{}UNKNOWN_{:#x}", text.empty() ? "" : "|", flags);
  return text.empty() ? "none" : text;
}

Json attributes_json(const btrfs::Attributes& attributes, uint32_t sectorsize) {
  struct stat st = attributes.to_stat(sectorsize);
  Json object;
  object["type"] = type_word(attributes.mode);
  object["inode"] = attributes.inode;
  object["mode"] = fmt::format("{:04o}", attributes.mode & 07777);
  object["links"] = attributes.nlink;
  object["uid"] = attributes.uid;
  object["gid"] = attributes.gid;
  object["size"] = attributes.size;
  object["blocks"] = static_cast<uint64_t>(st.st_blocks);
  if (st.st_rdev) object["device"] = fmt::format("{}:{}", major(st.st_rdev), minor(st.st_rdev));
  object["modified"] = time_json(attributes.mtime);
  object["changed"] = time_json(attributes.ctime);
  object["accessed"] = time_json(attributes.atime);
  object["created"] = time_json(attributes.otime);
  return object;
}

JsonArray::JsonArray() { fputs("[", stdout); }
JsonArray::~JsonArray() { fputs(first_ ? "]\n" : "\n]\n", stdout); }
void JsonArray::add(const Json& element) {
  fmt::print("{}\n  {}", first_ ? "" : ",", element.dump());
  first_ = false;
}

}  // namespace karst::cli

#include "cli/output.h"

#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdio>
#include <ctime>

namespace karst::cli {
namespace {

// The length of the UTF-8 character at the front, 0 if there is none.
size_t utf8_length(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char lead = byte(0);
  size_t length = lead < 0x80                   ? 1
                  : lead >= 0xc2 && lead < 0xe0 ? 2
                  : lead >= 0xe0 && lead < 0xf0 ? 3
                  : lead >= 0xf0 && lead < 0xf5 ? 4
                                                : 0;
  if (length == 0 || length > text.size()) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // Overlong forms, surrogates, beyond U+10FFFF.
  if ((lead == 0xe0 && byte(1) < 0xa0) || (lead == 0xed && byte(1) >= 0xa0) ||
      (lead == 0xf0 && byte(1) < 0x90) || (lead == 0xf4 && byte(1) >= 0x90))
    return 0;
  return length;
}

bool is_control(std::string_view character) {
  auto first = static_cast<unsigned char>(character[0]);
  return first < 0x20 || first == 0x7f ||
         (character.size() == 2 && first == 0xc2 && static_cast<unsigned char>(character[1]) < 0xa0);
}

std::string strftime_text(const char* format, const timespec& time, bool utc) {
  struct tm parts {};
  if (utc)
    gmtime_r(&time.tv_sec, &parts);
  else
    localtime_r(&time.tv_sec, &parts);
  char text[64];
  return {text, strftime(text, sizeof text, format, &parts)};
}

}  // namespace

std::string shown_name(std::string_view name) {
  static const bool terminal = isatty(STDOUT_FILENO) != 0;
  if (!terminal) return std::string(name);
  std::string shown;
  while (!name.empty()) {
    size_t length = utf8_length(name);
    if (length == 0 || is_control(name.substr(0, length))) {
      fmt::format_to(std::back_inserter(shown), "\\x{:02x}", static_cast<unsigned char>(name[0]));
      length = 1;
    } else {
      shown += name.substr(0, length);
    }
    name.remove_prefix(length);
  }
  return shown;
}

void set_name(Json& object, const std::string& key, std::string_view name) {
  std::string valid;
  bool intact = true;
  for (std::string_view rest = name; !rest.empty();) {
    size_t length = utf8_length(rest);
    if (length == 0) {
      valid += "\xef\xbf\xbd";
      intact = false;
      length = 1;
    } else {
      valid += rest.substr(0, length);
    }
    rest.remove_prefix(length);
  }
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
  return strftime_text("%Y-%m-%d %H:%M:%S", time, false) + fmt::format(".{:09d} ", time.tv_nsec) +
         strftime_text("%z", time, false);
}
std::string time_json(const timespec& time) {
  return strftime_text("%Y-%m-%dT%H:%M:%S", time, true) + fmt::format(".{:09d}Z", time.tv_nsec);
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

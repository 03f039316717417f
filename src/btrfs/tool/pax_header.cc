#include "btrfs/tool/pax_header.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <cstring>

#include "core/endian.h"

namespace karst::btrfs {
namespace {

struct UstarHeader {
  char name[100];      //   0
  char mode[8];        // 100  numbers: octal digits, then NUL
  char uid[8];         // 108
  char gid[8];         // 116
  char size[12];       // 124
  char mtime[12];      // 136
  char checksum[8];    // 148
  char typeflag;       // 156
  char linkname[100];  // 157
  char magic[6];       // 257
  char version[2];     // 263
  char uname[32];      // 265
  char gname[32];      // 297
  char devmajor[8];    // 329
  char devminor[8];    // 337
  char prefix[155];    // 345
  char padding[12];    // 500
};
static_assert(sizeof(UstarHeader) == tar_block && offsetof(UstarHeader, prefix) == 345);

constexpr char type_extended = 'x';

char type_of(const TarEntry& entry) {
  if (!entry.hardlink.empty()) return '1';
  switch (entry.attributes.mode & S_IFMT) {
    case S_IFLNK: return '2';
    case S_IFCHR: return '3';
    case S_IFBLK: return '4';
    case S_IFDIR: return '5';
    case S_IFIFO: return '6';
    default: return '0';
  }
}

// Writes the number if it fits; zero otherwise.
template <size_t N>
bool put_octal(char (&field)[N], uint64_t value) {
  bool fits = value < uint64_t{1} << (3 * (N - 1));
  fmt::format_to_n(field, N - 1, "{:0{}o}", fits ? value : 0, N - 1);
  return fits;
}

// Writes as much of the text as fits; all of it or not.
template <size_t N>
bool put_text(char (&field)[N], std::string_view text) {
  std::memcpy(field, text.data(), std::min(N, text.size()));
  return text.size() <= N;
}

void finish(UstarHeader& header) {
  std::memcpy(header.magic, "ustar", 6);
  std::memcpy(header.version, "00", 2);
  // The sum is taken with its own field as spaces.
  std::memset(header.checksum, ' ', sizeof header.checksum);
  uint32_t sum = 0;
  for (std::byte byte : Bytes(reinterpret_cast<const std::byte*>(&header), sizeof header))
    sum += std::to_integer<uint32_t>(byte);
  fmt::format_to_n(header.checksum, 7, "{:06o}", sum);
  header.checksum[6] = '\0';
}

void append_block(std::string& out, const UstarHeader& header) {
  out.append(reinterpret_cast<const char*>(&header), sizeof header);
}

void pad(std::string& out) { out.append(contents_padding(out.size()), '\0'); }

// The records of an extended header.
class Records {
 public:
  // A record begins with its own length in decimal, which counts itself.
  void add(std::string_view keyword, std::string_view value) {
    size_t rest = keyword.size() + value.size() + 3;  // space, '=', newline
    size_t length = rest + fmt::formatted_size("{}", rest);
    length = rest + fmt::formatted_size("{}", length);
    fmt::format_to(std::back_inserter(text_), "{} ", length);
    text_.append(keyword).append(1, '=').append(value).append(1, '\n');
  }
  void add(std::string_view keyword, uint64_t value) {
    add(keyword, std::string_view(fmt::format("{}", value)));
  }
  // A decimal number: -1.5 is half a second before -1.
  void add(std::string_view keyword, timespec time) {
    int64_t seconds = time.tv_sec;
    long nanoseconds = time.tv_nsec;
    const char* sign = "";
    if (seconds < 0) {
      sign = "-";
      if (nanoseconds > 0) {
        ++seconds;
        nanoseconds = 1'000'000'000 - nanoseconds;
      }
    }
    uint64_t whole = seconds < 0 ? 0 - static_cast<uint64_t>(seconds) : static_cast<uint64_t>(seconds);
    std::string text = fmt::format("{}{}", sign, whole);
    if (nanoseconds > 0) {
      fmt::format_to(std::back_inserter(text), ".{:09}", nanoseconds);
      text.resize(text.find_last_not_of('0') + 1);
    }
    add(keyword, std::string_view(text));
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// The value of system.posix_acl_access and system.posix_acl_default.
// Source: Linux include/uapi/linux/posix_acl_xattr.h.
struct AclHeader {
  le32 version;
};
struct AclEntry {
  le16 tag, perm;
  le32 id;
};
constexpr uint32_t acl_version = 2;

// "user::rw-,user:1000:r--,…"; nothing if the value is not an ACL.
std::optional<std::string> acl_text(std::string_view value) {
  Bytes bytes = as_bytes(value);
  const auto* header = overlay<AclHeader>(bytes);
  if (!header || header->version != acl_version || (bytes.size() - sizeof *header) % sizeof(AclEntry) != 0)
    return std::nullopt;
  std::string text;
  for (size_t at = sizeof *header; at < bytes.size(); at += sizeof(AclEntry)) {
    const auto& entry = *overlay<AclEntry>(bytes, at);
    if (!text.empty()) text += ',';
    switch (entry.tag) {
      case 0x01: text += "user:"; break;
      case 0x02: text += fmt::format("user:{}", entry.id); break;
      case 0x04: text += "group:"; break;
      case 0x08: text += fmt::format("group:{}", entry.id); break;
      case 0x10: text += "mask:"; break;
      case 0x20: text += "other:"; break;
      default: return std::nullopt;
    }
    text += {':', entry.perm & 4 ? 'r' : '-', entry.perm & 2 ? 'w' : '-', entry.perm & 1 ? 'x' : '-'};
  }
  return text;
}

void add_xattr(Records& records, const std::string& name, const std::string& value) {
  std::optional<std::string> acl;
  if (name == "system.posix_acl_access" && (acl = acl_text(value)))
    return records.add("SCHILY.acl.access", *acl);
  if (name == "system.posix_acl_default" && (acl = acl_text(value)))
    return records.add("SCHILY.acl.default", *acl);
  std::string keyword = "SCHILY.xattr.";
  for (char c : name) {
    if (c == '=')
      keyword += "%3D";
    else if (c == '%')
      keyword += "%25";
    else
      keyword += c;
  }
  records.add(keyword, value);
}

// "DIR/EXTRA/NAME", for the names of headers that are not files.
std::string name_beside(std::string_view path, std::string_view extra) {
  while (path.ends_with('/')) path.remove_suffix(1);
  size_t slash = path.rfind('/');
  std::string_view directory = slash == std::string_view::npos ? "." : path.substr(0, slash);
  std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  return fmt::format("{}/{}/{}", directory, extra, name);
}

// The path whole, or cut at a slash into prefix and name; false if neither fits.
bool put_path(UstarHeader& header, std::string_view path) {
  if (put_text(header.name, path)) return true;
  // The name must not be empty, so a directory's last slash is no place to cut.
  size_t cut = path.rfind('/', std::min(sizeof header.prefix, path.size() - 2));
  if (cut == std::string_view::npos || cut == 0 || path.size() - cut - 1 > sizeof header.name) return false;
  std::memset(header.name, 0, sizeof header.name);
  return put_text(header.prefix, path.substr(0, cut)) && put_text(header.name, path.substr(cut + 1));
}

std::string sparse_map(const TarEntry& entry) {
  const auto& data = entry.data;
  // A hole at the end is followed by no data there.
  const uint64_t end = data.empty() ? 0 : data.back().first + data.back().second;
  const bool ends_in_hole = end < entry.attributes.size;
  std::string map = fmt::format("{}\n", data.size() + ends_in_hole);
  for (auto [offset, length] : data) fmt::format_to(std::back_inserter(map), "{}\n{}\n", offset, length);
  if (ends_in_hole) fmt::format_to(std::back_inserter(map), "{}\n0\n", entry.attributes.size);
  pad(map);
  return map;
}

void append_extended(std::string& out, const TarEntry& entry, const Records& records) {
  UstarHeader header{};
  put_text(header.name, name_beside(entry.path, "PaxHeaders"));
  put_octal(header.mode, 0644);
  put_octal(header.uid, 0);
  put_octal(header.gid, 0);
  put_octal(header.size, records.text().size());
  put_octal(header.mtime, 0);
  header.typeflag = type_extended;
  finish(header);
  append_block(out, header);
  out += records.text();
  pad(out);
}

}  // namespace

Result<std::string> pax_header(const TarEntry& entry) {
  const Attributes& attributes = entry.attributes;
  if (attributes.size > INT64_MAX && entry.has_contents())
    return Error(karst::err::limit, "file is too large for an archive").at("size", attributes.size);
  const bool sparse = entry.sparse && entry.has_contents();
  UstarHeader header{};
  Records records;
  std::string map;
  uint64_t stored = entry.has_contents() ? attributes.size : 0;
  if (sparse) {
    map = sparse_map(entry);
    stored = map.size();
    for (auto [offset, length] : entry.data) stored += length;
    records.add("GNU.sparse.major", uint64_t{1});
    records.add("GNU.sparse.minor", uint64_t{0});
    records.add("GNU.sparse.name", entry.path);
    records.add("GNU.sparse.realsize", attributes.size);
    put_text(header.name, name_beside(entry.path, "GNUSparseFile.0"));
  } else if (!put_path(header, entry.path)) {
    records.add("path", entry.path);
  }
  const std::string& link = entry.hardlink.empty() ? entry.symlink : entry.hardlink;
  if (!put_text(header.linkname, link)) records.add("linkpath", link);
  put_octal(header.mode, attributes.mode & 07777);
  if (!put_octal(header.uid, attributes.uid)) records.add("uid", attributes.uid);
  if (!put_octal(header.gid, attributes.gid)) records.add("gid", attributes.gid);
  if (!put_octal(header.size, stored)) records.add("size", stored);
  bool whole = attributes.mtime.tv_sec >= 0 && attributes.mtime.tv_nsec == 0;
  if (!put_octal(header.mtime,
                 attributes.mtime.tv_sec < 0 ? 0 : static_cast<uint64_t>(attributes.mtime.tv_sec)) ||
      !whole)
    records.add("mtime", attributes.mtime);
  records.add("atime", attributes.atime);
  records.add("ctime", attributes.ctime);
  header.typeflag = type_of(entry);
  if (header.typeflag == '3' || header.typeflag == '4') {
    put_octal(header.devmajor, major(attributes.rdev));
    put_octal(header.devminor, minor(attributes.rdev));
  }
  if (entry.hardlink.empty())
    for (const auto& [name, value] : entry.xattrs) add_xattr(records, name, value);
  finish(header);

  std::string out;
  append_extended(out, entry, records);
  append_block(out, header);
  return out + map;
}

}  // namespace karst::btrfs

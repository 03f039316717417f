// What a source says about one path: the attributes of a file of any type, in host form.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "btrfs/format/inode_mode.h"
#include "core/bytes.h"

namespace karst::btrfs::build {

struct Time {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;  // below 10^9
  auto operator<=>(const Time&) const = default;
};

// Linux's numbers, as on disk, whatever the host's are.
struct Attributes {
  uint32_t mode = mode::directory | 0755;  // with the type
  uint32_t uid = 0, gid = 0;
  uint32_t device_major = 0, device_minor = 0;  // of character and block devices
  uint64_t size = 0;                            // of a regular file, bytes; of a symlink, of its target
  Time atime, mtime, ctime, otime;

  uint32_t type() const { return mode & mode::type_mask; }
  bool is_directory() const { return type() == mode::directory; }
  bool is_regular() const { return type() == mode::regular; }
  bool is_symlink() const { return type() == mode::symlink; }
  bool is_device() const { return type() == mode::character || type() == mode::block; }
  // As the kernel keeps it in an inode item: 12 bits major, 20 bits minor.
  uint64_t rdev() const { return is_device() ? uint64_t{device_major} << 20 | device_minor : 0; }
};

// What is to be done to a file's attributes that another source gave, or to all of a source's.
struct AttributesPatch {
  std::optional<uint32_t> permissions;  // the low 12 bits of the mode
  std::optional<uint32_t> access;       // the low 9 bits, after that: what an access control list grants
  std::optional<uint32_t> uid, gid;
  std::optional<Time> atime, mtime, ctime, otime;

  void apply(Attributes& attributes) const;
};

// An extended attribute by its full name, "user.mime_type"; ACLs are system.posix_acl_access and
// system.posix_acl_default in the kernel's binary form. No value: the attribute is taken away.
struct XattrChange {
  std::string name;
  std::optional<std::string> value;
};
using XattrChanges = std::vector<XattrChange>;

// Whether btrfs has a place for an attribute of this name (Linux fs/btrfs/xattr.c, btrfs_xattr_handlers).
// File systems list others that are views of their own, and other systems have namespaces of theirs.
bool is_storable_xattr(std::string_view name);

// How new data below a path is stored.
enum class CompressionChoice : uint8_t { unset, none, zlib, lzo, zstd };
struct Properties {
  CompressionChoice compression = CompressionChoice::unset;  // unset: as the build's options say
  int8_t level = 0;                                          // 0: the algorithm's default
  bool nodatacow = false;                                    // neither checksums nor compression
  bool operator==(const Properties&) const = default;
};

}  // namespace karst::btrfs::build

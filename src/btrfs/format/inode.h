// Items of subvolume trees: inodes, names, attributes, file extents.
// Source: Linux include/uapi/linux/btrfs_tree.h.
#pragma once
#include <cstdint>
#include <string>

#include "btrfs/format/key.h"

namespace karst::btrfs {

constexpr uint32_t max_name_length = 255;

struct Timespec {
  sle64 seconds;
  le32 nanoseconds;
};
static_assert(sizeof(Timespec) == 12 && Overlay<Timespec>);

namespace inode_flag {
constexpr uint64_t nodatasum = 1ull << 0;
constexpr uint64_t nodatacow = 1ull << 1;
constexpr uint64_t readonly = 1ull << 2;
constexpr uint64_t nocompress = 1ull << 3;
constexpr uint64_t prealloc = 1ull << 4;
constexpr uint64_t sync = 1ull << 5;
constexpr uint64_t immutable = 1ull << 6;
constexpr uint64_t append = 1ull << 7;
constexpr uint64_t nodump = 1ull << 8;
constexpr uint64_t noatime = 1ull << 9;
constexpr uint64_t dirsync = 1ull << 10;
constexpr uint64_t compress = 1ull << 11;
constexpr uint64_t root_item_init = 1ull << 31;
constexpr uint64_t known = 0xfffull | root_item_init;
constexpr uint64_t ro_verity = 1ull << 32;  // the upper half: read-only compatible flags
constexpr uint64_t known_ro = ro_verity;
}  // namespace inode_flag

// Key: (inode INODE_ITEM 0).
struct InodeItem {
  le64 generation;   //   0
  le64 transid;      //   8
  le64 size;         //  16
  le64 nbytes;       //  24  allocated, before compression
  le64 block_group;  //  32
  le32 nlink;        //  40
  le32 uid;          //  44
  le32 gid;          //  48
  le32 mode;         //  52
  le64 rdev;         //  56
  le64 flags;        //  64  inode_flag
  le64 sequence;     //  72
  le64 reserved[4];  //  80
  Timespec atime;    // 112
  Timespec ctime;    // 124
  Timespec mtime;    // 136
  Timespec otime;    // 148
};
static_assert(sizeof(InodeItem) == 160 && Overlay<InodeItem>);

// Key: (inode INODE_REF parent). Several may follow each other; each is followed by its name.
struct InodeRef {
  le64 index;
  le16 name_len;
};
static_assert(sizeof(InodeRef) == 10 && Overlay<InodeRef>);

// Key: (inode INODE_EXTREF hash(parent, name)). Followed by its name.
struct InodeExtref {
  le64 parent_objectid;
  le64 index;
  le16 name_len;
};
static_assert(sizeof(InodeExtref) == 18 && Overlay<InodeExtref>);

enum class FileType : uint8_t {
  unknown = 0,
  regular = 1,
  directory = 2,
  character = 3,
  block = 4,
  fifo = 5,
  socket = 6,
  symlink = 7,
  xattr = 8,
};
constexpr uint8_t file_type_max = 9;
constexpr uint8_t file_type_encrypted = 0x80;

// Keys: (dir DIR_ITEM hash(name)), several on a collision; (dir DIR_INDEX index); (inode XATTR_ITEM
// hash(name)). Followed by name_len bytes of name and data_len bytes of value (attributes only).
struct DirItem {
  DiskKey location;  //  0  (inode INODE_ITEM 0), or (subvolume ROOT_ITEM -1)
  le64 transid;      // 17
  le16 data_len;     // 25
  le16 name_len;     // 27
  uint8_t type;      // 29  a FileType
};
static_assert(sizeof(DirItem) == 30 && Overlay<DirItem>);

// Key: (dir DIR_LOG_INDEX first), in log trees: indexes first … end are all here.
struct DirLogItem {
  le64 end;
};
static_assert(sizeof(DirLogItem) == 8 && Overlay<DirLogItem>);

enum class FileExtentType : uint8_t { inline_data = 0, regular = 1, prealloc = 2 };
enum class Compression : uint8_t { none = 0, zlib = 1, lzo = 2, zstd = 3 };
constexpr uint8_t compression_max = 4;
// Linux compresses 128 KiB at a time; no extent is bigger before or after.
constexpr uint32_t max_compressed_extent = 128 << 10;

// Key: (inode EXTENT_DATA file offset). Inline: the data follows the head.
struct FileExtentHead {
  le64 generation;      //  0
  le64 ram_bytes;       //  8  size of the decompressed extent
  uint8_t compression;  // 16
  uint8_t encryption;   // 17
  le16 other_encoding;  // 18
  uint8_t type;         // 20  a FileExtentType
};
static_assert(sizeof(FileExtentHead) == 21 && Overlay<FileExtentHead>);

struct FileExtent {
  FileExtentHead head;  //  0
  le64 disk_bytenr;     // 21  logical; 0: a hole
  le64 disk_num_bytes;  // 29
  le64 offset;          // 37  into the decompressed extent
  le64 num_bytes;       // 45  bytes of the file this item covers
};
static_assert(sizeof(FileExtent) == 53 && Overlay<FileExtent>);

// Key: (inode VERITY_DESC_ITEM 0). Offset 1 and up: the descriptor's bytes.
struct VerityDescriptorItem {
  le64 size;
  le64 reserved[2];
  uint8_t encryption;
};
static_assert(sizeof(VerityDescriptorItem) == 25 && Overlay<VerityDescriptorItem>);

// The hash of a name in DIR_ITEM and XATTR_ITEM keys: crc32c with seed ~1.
uint64_t name_hash(std::string_view name);
// The hash in INODE_EXTREF keys: crc32c of the name seeded with the parent's inode number.
uint64_t extref_hash(uint64_t parent, std::string_view name);

}  // namespace karst::btrfs

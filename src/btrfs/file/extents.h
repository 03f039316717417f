// The extents of a file: which range of it is a hole, inline, or where on the volume.
#pragma once
#include <cstdint>
#include <optional>

#include "btrfs/format/inode.h"
#include "btrfs/tree/tree.h"

namespace karst::btrfs {

// `lost`: the items that would say are in blocks that could not be read (tolerant trees only).
enum class RangeKind : uint8_t { hole, inline_data, data, prealloc, lost };

// A range of a file. `length` is cut at the end of the file; ranges follow each other without gaps.
struct FileRange {
  uint64_t offset = 0;  // in the file
  uint64_t length = 0;
  RangeKind kind = RangeKind::hole;
  Compression compression = Compression::none;
  uint64_t ram_bytes = 0;    // of the whole decompressed extent
  uint64_t disk_bytenr = 0;  // data, prealloc: the whole extent
  uint64_t disk_num_bytes = 0;
  uint64_t extent_offset = 0;  // where the range begins in the decompressed extent
  Bytes inline_bytes;          // inline_data: as stored; borrowed until the walker moves

  uint64_t end() const { return offset + length; }
  bool reads_as_zeroes() const { return kind == RangeKind::hole || kind == RangeKind::prealloc; }
};

// Walks the ranges of one file from any offset. Holes are given as ranges, whether the file system writes
// them down or not; extents of no length, which old kernels left behind and empty inline ones are, are no
// ranges, but may part a hole in two. Not thread-safe.
class ExtentWalker {
 public:
  ExtentWalker(Cursor& cursor, uint64_t inode, uint64_t file_size, uint32_t sectorsize)
      : cursor_(&cursor), inode_(inode), size_(file_size), sectorsize_(sectorsize) {}

  // The range that holds `offset`; nullopt at or past the end of the file. Begins at the range's own start,
  // which may lie before `offset`.
  Result<std::optional<FileRange>> seek(uint64_t offset);
  Result<std::optional<FileRange>> next();

 private:
  bool at_extent() const;
  Result<std::optional<FileRange>> from(uint64_t offset);
  Result<FileRange> decode() const;

  Cursor* cursor_;
  uint64_t inode_, size_;
  uint32_t sectorsize_;
  uint64_t position_ = 0;  // end of the range given last
};

}  // namespace karst::btrfs

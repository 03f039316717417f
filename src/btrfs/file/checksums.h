// The checksums of data sectors, from the checksum tree.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "btrfs/tree/filesystem.h"

namespace karst::btrfs {

namespace err {
extern const ErrorKind checksum_missing;  // child of checksum: data that should have one
extern const ErrorKind data_checksum;     // child of checksum: data that does not match
}  // namespace err

// Looks up the checksums of ranges; fast when they ascend, since it keeps its place in the tree. Not
// thread-safe; make one per thread.
class ChecksumReader {
 public:
  explicit ChecksumReader(const Filesystem& fs) : fs_(fs) {}

  struct Range {
    std::vector<std::byte> sums;  // Geometry::checksum_size bytes for each sector
    std::vector<bool> present;    // one for each sector; all true in the usual case
    bool complete = false;        // whether all are present
  };
  // Fills `range` for [logical, logical + length), both multiples of the sector size.
  Result<void> find(uint64_t logical, uint64_t length, Range& range);

 private:
  const Filesystem& fs_;
  Cursor cursor_;
  bool opened_ = false;
};

// Compares each sector of `data` with its checksum. Returns the indexes of the sectors that do not match or
// whose checksum is missing.
std::vector<uint32_t> bad_sectors(const Geometry& geometry, Bytes data, const ChecksumReader::Range& range);
// Why sector `index` is bad.
Error sector_error(const Geometry& geometry, uint64_t logical, Bytes data, const ChecksumReader::Range& range,
                   uint32_t index);

}  // namespace karst::btrfs

// Data extents and who uses them, out of the sorted records of uses.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "btrfs/extent/extent_items.h"
#include "core/external_sorter.h"
#include "core/spool.h"

namespace karst::btrfs {

// A use of an extent, as it is sorted: the uses of one extent in the order in which the extent tree has their
// items (extent_items.h).
struct ReferenceKey {
  ReferenceKey(uint64_t extent, const DataReference& use)
      : address(extent), hash(hash_of(use)), root(use.root), inode(use.inode), offset(use.offset) {}
  be64 address, hash, root, inode, offset;
};
struct ReferenceValue {
  le64 length;
  le32 count;
};

// Goes over the extents in the order of their addresses. Not thread-safe. Memory: `kept_max` uses of the
// extent it is at, and of an extent that has more 1 or 2 MiB; the others wait in a temporary file.
class ExtentReferences {
 public:
  struct Options {
    std::string temporary_directory = "/var/tmp";
    size_t kept_max = 16384;
  };
  ExtentReferences(const ExternalSorter& sorted, Options options)
      : reader_(sorted.reader()), options_(std::move(options)) {}

  // To the next extent; false after the last. Errors of the sorter and the temporary file, and err::corrupt
  // if two uses of one extent differ in its length (a bug).
  Result<bool> next();
  uint64_t address() const { return address_; }
  uint64_t length() const { return length_; }
  uint64_t end() const { return address_ + length_; }
  uint64_t count() const { return count_; }  // of uses, equal ones too
  // The uses in their order; equal ones are one, counted.
  Result<void> for_each(FunctionRef<Result<void>(const DataReference&)> each) const;
  size_t kept() const { return kept_.size(); }  // of them, in memory

 private:
  Result<void> step();
  Result<void> take(const DataReference& use);

  ExternalSorter::Reader reader_;
  const Options options_;
  bool started_ = false, more_ = false;  // whether the reader is at a use that no extent has yet
  uint64_t address_ = 0, length_ = 0, count_ = 0;
  std::vector<DataReference> kept_;
  std::optional<Spool> rest_;  // what comes after those kept
};

}  // namespace karst::btrfs

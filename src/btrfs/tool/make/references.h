// Data extents and who uses them, out of the sorted records of uses.
#pragma once
#include <vector>

#include "btrfs/extent/extent_items.h"
#include "core/external_sorter.h"

namespace karst::btrfs {

// A use of an extent, as it is sorted.
struct ReferenceKey {
  be64 address, root, inode, offset;
};
struct ReferenceValue {
  le64 length;
  le32 count;
};

// Goes over the extents in the order of their addresses. Not thread-safe.
class ExtentReferences {
 public:
  explicit ExtentReferences(const ExternalSorter& sorted) : reader_(sorted.reader()) {}

  // To the next extent; false after the last. Errors of the sorter, and err::corrupt if two uses of one
  // extent differ in its length (a bug).
  Result<bool> next();
  uint64_t address() const { return address_; }
  uint64_t length() const { return length_; }
  uint64_t end() const { return address_ + length_; }
  // Equal uses are one, counted.
  std::vector<DataReference>& references() { return references_; }

 private:
  Result<void> step();
  ExternalSorter::Reader reader_;
  bool started_ = false, more_ = false;  // whether the reader is at a use that no extent has yet
  uint64_t address_ = 0, length_ = 0;
  std::vector<DataReference> references_;
};

}  // namespace karst::btrfs

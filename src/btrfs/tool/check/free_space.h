// Recorded free space (the free space tree, or the cache of version 1) against the gaps between extents.
//
// One block group at a time; both sides as ascending ranges. What superblocks occupy counts as neither free
// nor used: kernels and tools have differed in whether they record it.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "btrfs/tool/check/item_stream.h"
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

struct Range {
  uint64_t start, end;
  friend bool operator==(const Range&, const Range&) = default;
};

// Gives the recorded ranges of a block group in order.
class FreeSpaceSource {
 public:
  virtual ~FreeSpaceSource() = default;
  virtual std::optional<Range> next() = 0;
  // After the last range: why they are not to be trusted, or nothing.
  virtual std::optional<std::string> fault() = 0;
  // Some of it could not be read, which is reported elsewhere.
  virtual bool incomplete() const = 0;
};

// Of a block group, or nothing if none is recorded that is valid. `report` is told what is wrong with the
// records themselves.
std::unique_ptr<FreeSpaceSource> open_free_space(State& state, const ChunkEntry& group);

// Entries of the free space tree that belong to no block group.
void check_free_space_groups(State& state);

// Ranges of the group's addresses in which superblocks lie; ascending.
std::vector<Range> superblock_ranges(const ChunkEntry& group);

// Compares: takes the gaps as they come.
class FreeSpaceComparison {
 public:
  FreeSpaceComparison(State& state, const ChunkEntry& group);
  void expect(uint64_t start, uint64_t end);
  // `trusted`: all extents of the group were seen.
  void finish(bool trusted);

 private:
  void compare(const Range& expected);
  std::optional<Range> recorded();
  void cut(const Range& range, std::vector<Range>& into) const;
  void mismatch(std::string text);

  State& state_;
  const ChunkEntry& group_;
  const std::vector<Range> superblocks_;
  std::unique_ptr<FreeSpaceSource> source_;
  std::vector<Range> pending_;  // recorded, cut around superblocks, not yet compared; last first
  std::optional<std::string> mismatch_;
};

}  // namespace karst::btrfs::check

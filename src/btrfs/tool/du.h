// What files take up, and how much of it they share: `btrfs filesystem du`.
//
// Counted as the kernel's FIEMAP tells it: the length of each extent of data or preallocation, also beyond
// the end of the file; inline data and holes count nothing. An extent is shared if it has more than one
// reference (reflinks, also within one file), or if a block on the way from the subvolume's root to the item
// that refers to it has (snapshots).
//
// The extent tree knows nothing of a log that is replayed in memory; the references that the replay adds and
// drops are counted on top of it.
#pragma once
#include <map>
#include <optional>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "btrfs/tool/open_image.h"

namespace karst::btrfs {

// Answers for one file system whether extents are shared, from its extent tree. Not thread-safe.
class ExtentSharing {
 public:
  explicit ExtentSharing(const Filesystem& fs) : fs_(&fs) {}

  // Of the file extent item at `key` in that subvolume. One that the extent tree does not know is not shared.
  Result<bool> is_shared(uint64_t subvolume, const Key& key, const FileExtent& extent);

 private:
  // A reference's root, inode, and where the extent's start would be in the file; for those by parent block
  // the first two are 0.
  using Reference = std::tuple<uint64_t, uint64_t, uint64_t>;
  using References = std::map<Reference, int64_t>;  // counts

  void load_replayed();
  Result<void> add_replayed(const Tree& tree);
  Result<References> references_of(uint64_t bytenr, size_t enough);
  Result<void> read_logs(const Tree& logs);
  Result<bool> find_extent(uint64_t bytenr);
  Result<bool> has_more_references(uint64_t bytenr);
  Result<bool> is_block_shared(uint64_t bytenr);
  Result<bool> is_path_shared(uint64_t subvolume, const Key& key);
  Result<void> enter(uint64_t subvolume);

  const Filesystem* fs_;
  std::optional<Cursor> extents_;
  std::optional<uint64_t> subvolume_;  // what the next two are of
  Tree tree_;
  uint64_t last_snapshot_ = 0;
  bool loaded_ = false;
  std::unordered_map<uint64_t, References> replayed_;  // what a log's replay changes, by extent
  std::unordered_map<uint64_t, bool> blocks_;          // tree blocks asked for lately; bounded
};

struct DiskUse {
  std::string_view path;  // borrowed for the call
  bool is_directory = false;
  uint64_t total = 0, exclusive = 0;
  std::optional<uint64_t> set_shared;  // of a start only: shared bytes below it, each counted once
};

struct DuOptions {
  bool summarize = false;  // only the start
};

// Gives each file and directory below the start, and then the start, directories after what is in them; other
// kinds of files are left out, and an inode with several names is given once. `start_path` is what paths
// begin with. What cannot be read is logged and counted in the number returned; the error is the receiver's.
Result<uint64_t> measure_disk_use(const Image& image, const Located& start, std::string_view start_path,
                                  const DuOptions& options,
                                  FunctionRef<Result<void>(const DiskUse&)> receive);

}  // namespace karst::btrfs

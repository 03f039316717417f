// Copying a tree of files out of an image: what an archive and a directory have in common.
//
// One thread takes entries from a source and gives their work to the pool, whose threads read, verify and
// decompress batches of small files and pieces of large ones and hand them to a target; what they made is
// then taken over in the order of the source. Memory in flight is bounded by `memory`.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "btrfs/tool/copied_entry.h"
#include "btrfs/tool/open_image.h"
#include "btrfs/tool/walk.h"
#include "core/cancel.h"
#include "core/progress.h"
#include "core/worker_pool.h"

namespace karst::btrfs {

// Something of the tree that did not come over, or not as it was.
struct CopyLoss {
  enum class Kind : uint8_t {
    entry,        // all of it
    attributes,   // extended attributes, a link's target, or what else stands beside the contents
    extents,      // the list of extents ends here; what follows is tried
    unreachable,  // a range that lies outside the devices or its own extent
    range,        // a range that could not be read
    unverified,   // a range that was given without matching a checksum
    names,        // entries of a directory, nobody knows which
    older,        // nothing for certain; but what came over may be of an older state, or of another file
  };
  Kind kind = Kind::entry;
  std::string path;                 // in the copy; empty if the error says which
  uint64_t offset = 0, length = 0;  // of ranges
  Error error;
};

const char* loss_name(CopyLoss::Kind kind);  // "entry", "attributes" …

// Of a file some of whose items are doubtful.
CopyLoss older_file(std::string path, uint64_t inode);

// Called in the thread that walks.
using LossListener = FunctionRef<void(const CopyLoss&)>;

class EntrySource {
 public:
  virtual ~EntrySource() = default;
  // Parents before children; nullopt at the end. An error is one entry's (or directory's) and is told as a
  // loss; the source can go on.
  virtual Result<std::optional<WalkEntry>> next() = 0;
};

// Where the copy goes. An error of no_space, read_only, cancelled or no_memory ends the copying; another is
// the loss of that entry.
class CopyTarget {
 public:
  // What a task made, to be taken over in order.
  struct Part {
    virtual ~Part() = default;
  };
  using Failures = std::span<const DataReader::Failure>;

  virtual ~CopyTarget() = default;
  virtual bool takes_sockets() const { return true; }

  // In the thread that walks, before the entry's work: of directories, and of files that come in pieces.
  virtual Result<void> prepare(const CopiedEntry&) { return {}; }

  // In any thread. Contents are those from `offset` on, with zeroes where `failures` has it otherwise; they
  // are borrowed until the part has been taken.
  virtual std::unique_ptr<Part> new_part() = 0;
  virtual Result<void> add(Part& part, CopiedEntry& entry, Bytes contents, Failures failures) = 0;
  virtual Result<void> begin_pieces(Part& part, CopiedEntry& entry) = 0;
  virtual Result<void> add_piece(Part& part, const CopiedEntry& entry, uint64_t offset, Bytes contents,
                                 Failures failures, bool last) = 0;

  // In any thread, before the entry's part would have been taken: it did not come over, or may be incomplete
  // under its name. What links to it must not be made of something else.
  virtual void failed(const CopiedEntry&) {}

  // In the thread that walks, in order. The last piece of an entry has been taken when its next one comes.
  virtual Result<void> take(Part& part) = 0;
};

struct CopyOptions {
  uint64_t memory = 32 << 20;    // bytes of file contents in flight
  bool give_unverified = false;  // contents whose checksums are wrong or missing (CopyLoss::unverified)
  CancelToken cancel;
  ProgressRef progress;
};

struct CopyReport {
  uint64_t entries = 0;
  uint64_t bytes = 0;    // of file contents
  uint64_t sockets = 0;  // left out
  uint64_t losses = 0;   // told to the listener
};

// Copies what the source gives. The error returned is one of the target, of cancellation or of memory.
Result<CopyReport> copy_tree(const Filesystem& fs, DataCache& data, EntrySource& source, CopyTarget& target,
                             const CopyOptions& options, WorkerPool& pool, LossListener lost);

}  // namespace karst::btrfs

// Reading the contents of files: extents, holes, compression, checksums, other copies.
//
// Every byte that comes from the volume has matched its checksum (where its file has checksums at all); a
// sector that does not is tried from the volume's other copies. A DataReader holds one thread's working
// state: cursors, buffers, a queue and a decompressor. Its memory is bounded by `window` and two extents.
#pragma once
#include <memory>
#include <vector>

#include "block/queue.h"
#include "btrfs/file/attributes.h"
#include "btrfs/file/checksums.h"
#include "btrfs/file/compress.h"
#include "btrfs/file/extents.h"

namespace karst::btrfs {

// State that the readers of one file system share: decompressed extents in the cache. Thread-safe.
class DataCache {
 public:
  explicit DataCache(cache::Cache& cache) : cache_(cache), object_(cache.new_object()) {}
  ~DataCache() { cache_.remove_object(object_); }
  DataCache(const DataCache&) = delete;
  DataCache& operator=(const DataCache&) = delete;

  cache::Cache& cache() { return cache_; }
  // What was read without checksums is kept apart, so that nobody who has them gets it: extents begin at
  // even addresses.
  cache::FolioKey key(uint64_t disk_bytenr, bool checked) const {
    return {object_, disk_bytenr + (checked ? 0 : 1)};
  }

 private:
  cache::Cache& cache_;
  const cache::ObjectId object_;
};

class DataReader {
 public:
  DataReader(const Filesystem& fs, DataCache& shared);
  ~DataReader();

  // A range of a file that could not be read, and why.
  struct Failure {
    uint64_t offset;
    uint64_t length;
    Error error;
    bool unverified = false;  // the bytes were given all the same (give_unverified)
  };

  // For read_salvaging(): sectors of which no copy matches its checksum, or that should have one and do not,
  // are given as some copy has them.
  void give_unverified(bool on) { give_unverified_ = on; }

  // Fills `destination` from `offset`, up to the end of the file: the number of bytes. An error if any byte
  // of them has no good copy. Bytes of `destination` past the end of the file may be overwritten.
  Result<size_t> read(const Tree& tree, const Attributes& file, uint64_t offset, MutableBytes destination);
  // The same, but bytes without a good copy are zeroes and listed in `failures`.
  Result<size_t> read_salvaging(const Tree& tree, const Attributes& file, uint64_t offset,
                                MutableBytes destination, std::vector<Failure>& failures);

  // The first offset at or after `offset` that holds data (SEEK_DATA) or is in a hole (SEEK_HOLE); as the
  // kernel, a preallocated range is a hole and the end of the file is one. nullopt: none (ENXIO).
  Result<std::optional<uint64_t>> seek_data(const Tree& tree, const Attributes& file, uint64_t offset);
  Result<std::optional<uint64_t>> seek_hole(const Tree& tree, const Attributes& file, uint64_t offset);

  // Tells the devices that this part of the file will be read soon.
  Result<void> will_read(const Tree& tree, const Attributes& file, uint64_t offset, uint64_t length);

 private:
  // A part of a read that comes from one extent on the volume.
  struct Piece {
    FileRange range;
    uint64_t file_offset;      // where in the file `destination` begins
    MutableBytes destination;  // the caller's
    uint64_t logical;          // where `raw` is read from; whole sectors
    MutableBytes raw;          // in `destination` itself, or in scratch_
    bool direct;               // the former
    size_t request = 0;        // of requests_
  };
  using Failures = std::vector<Failure>;
  // What one call of read() works on. `room` is the caller's buffer, which may be longer than the file.
  struct Job {
    const Attributes& file;
    uint64_t offset;
    MutableBytes destination;
    MutableBytes room;
    Failures* failures;
  };

  Result<size_t> read_all(const Tree& tree, const Attributes& file, uint64_t offset, MutableBytes destination,
                          Failures* failures);
  Result<void> read_window(const Job& job);
  Result<void> plan(const Job& job, const FileRange& range, uint64_t from, MutableBytes destination);
  Result<void> plan_plain(const Job& job, const FileRange& range, uint64_t from, MutableBytes destination);
  Result<void> plan_compressed(const Job& job, const FileRange& range, uint64_t from,
                               MutableBytes destination);
  Result<void> flush(const Job& job);
  Result<void> finish(const Job& job, Piece& piece);
  Result<void> repair(const Job& job, Piece& piece, uint32_t sector, Error reason);
  Result<void> read_again(const Job& job, Piece& piece, uint32_t sector);
  Result<void> verify_sector(const Job& job, const Piece& piece, uint32_t sector) const;
  Result<void> deliver_compressed(const Job& job, Piece& piece);
  Result<void> read_inline(const FileRange& range, uint64_t from, MutableBytes destination);
  Result<void> fail(const Job& job, uint64_t offset, MutableBytes destination, Error error);
  Result<void> find_checksums(const Job& job, const Piece& piece);
  Result<void> take_unverified(const Job& job, const Piece& piece, uint32_t sector);
  bool copy_cached(const Job& job, const FileRange& range, uint64_t from, MutableBytes destination);
  Result<MutableBytes> take_scratch(const Job& job, uint64_t length);
  void bind(const Tree& tree);

  const Filesystem& fs_;
  DataCache& shared_;
  bool give_unverified_ = false;
  std::optional<Tree> tree_;
  Cursor cursor_;
  ChecksumReader checksums_;
  ChecksumReader::Range sums_;
  std::unique_ptr<block::Queue> queue_;
  Decompressor decompressor_;
  std::vector<Piece> pieces_;
  std::vector<Volume::ReadRequest> requests_;
  std::vector<std::byte> scratch_;  // raw bytes of compressed and unaligned pieces
  size_t scratch_used_ = 0;
  std::vector<std::byte> plain_;  // an extent, decompressed
};

}  // namespace karst::btrfs

// What workers do for a build: read files of source directories and their extended attributes, encode the
// data, and make the items of inodes.
//
// A job is some inodes that follow each other, or one piece of a large file; what comes out is taken up in
// order by the builder.
// Thread-safety: a loader may be shared; jobs are independent of each other.
#pragma once
#include <memory>
#include <vector>

#include "btrfs/tool/build/extent_encoder.h"
#include "btrfs/tool/build/inode_items.h"
#include "btrfs/tool/build/source_errors.h"
#include "btrfs/tool/build/source_files.h"

namespace karst::btrfs::build {

// Of a file in a source directory, what one job is to read.
struct LoadPart {
  uint64_t offset = 0;  // a multiple of EncodedBatch::capacity
  bool first = true;    // the inode's items come with it
  bool last = true;
};

// The parts of a file, in order: all of its length, or of a sparse file the first one and those with data.
class FileParts {
 public:
  // A sparse file is opened: errors are those of SourceReader::open().
  static Result<FileParts> create(const SourceFiles& files, const InodeCopy& inode);
  // Nothing after the last.
  std::optional<LoadPart> next();

 private:
  FileParts(uint64_t size, UniqueFd fd) : size_(size), fd_(std::move(fd)) {}
  std::optional<uint64_t> from(uint64_t offset) const;
  const uint64_t size_;
  UniqueFd fd_;  // of a sparse file
  std::optional<uint64_t> next_ = 0;
};

struct LoadTask {
  InodeCopy inode;
  LoadPart part;
  // Contents that are stored already (ContentKind::stored): what the inode's item says of them, and the
  // content if it is in the item.
  uint64_t stored_nbytes = 0;
  std::optional<InlineContent> stored_inline;
};

struct LoadedInode {
  uint64_t number = 0;
  uint64_t size = 0;  // of a regular file: what was read
  LoadPart part;
  ContentKind content = ContentKind::none;
  std::vector<std::byte> token;  // stored: of the content
  ItemBuffer items;
  bool has_extents = false;  // a regular file whose data is not in its items
  bool failed = false;       // it could not be read: it is empty, or this part of it zeroes
  Compression inline_compression = Compression::none;
};

struct LoadedBatch {
  std::vector<LoadedInode> inodes;
  EncodedBatch data;  // EncodedExtent::file is the place in `inodes`
};

class FileLoader {
 public:
  struct Options {
    Encoding encoding;           // where properties say nothing
    uint32_t inline_max = 2048;  // files of up to so many bytes are stored in their items
    bool digests = false;
    uint64_t generation = 1;
    SourceErrorPolicy* errors;  // not nullptr
  };
  FileLoader(const SourceFiles& files, const Geometry& geometry, Codecs& codecs, BatchBuffers& buffers,
             Options options)
      : files_(files), geometry_(geometry), codecs_(codecs), buffers_(buffers), options_(options) {}

  Result<LoadedBatch> load(std::vector<LoadTask> tasks) const;

  const Options& options() const { return options_; }
  Result<FileParts> parts_of(const InodeCopy& inode) const { return FileParts::create(files_, inode); }
  // The bytes of a batch's buffer that a file takes at most.
  uint64_t room_for(uint64_t size) const {
    return (size + geometry_.sectorsize - 1) / geometry_.sectorsize * geometry_.sectorsize;
  }

 private:
  class Job;
  const SourceFiles& files_;
  const Geometry& geometry_;
  Codecs& codecs_;
  BatchBuffers& buffers_;
  const Options options_;
};

}  // namespace karst::btrfs::build

// Contents of archives, put into the image as they stream by, and found again when their inodes are built.
//
// What arrives is cut into batches that the pool's threads encode; they are placed in the order in which they
// came, so that the image does not depend on the number of threads. Small contents are kept for their items.
// What is known of each content (its extents, or the bytes themselves) is in spools, eight bytes a content
// stay in memory, however long it is. Contents that were released are not referred to: their space is free in
// the image.
//
// Not thread-safe.
#pragma once
#include <deque>

#include "btrfs/tool/build/content_store.h"
#include "btrfs/tool/build/extent_placer.h"
#include "btrfs/tool/build/file_loader.h"
#include "core/ordered_queue.h"
#include "core/spool.h"

namespace karst::btrfs::build {

// What became of one content.
struct StoredContent {
  uint64_t size = 0;
  uint64_t nbytes = 0;  // allocated; 0 if it is inline
  std::optional<InlineContent> in_item;
  uint64_t first_extent = 0, extents = 0;  // among all that were placed: for_each_extent()
};

class StoredContents final : public ContentStore {
 public:
  struct Options {
    Encoding encoding;
    uint32_t inline_max = 2048;
    uint64_t memory = 16 << 20;        // of batches in flight
    uint64_t known_memory = 16 << 20;  // of what is known of contents, before it goes to a file
    std::string temporary_directory = "/var/tmp";
  };
  StoredContents(ExtentPlacer& placer, const Geometry& geometry, Codecs& codecs, BatchBuffers& buffers,
                 WorkerPool& pool, Options options);
  ~StoredContents() override;

  Result<void> begin_file(std::string_view path, const Properties& properties, uint64_t size) override;
  Result<void> write(uint64_t offset, Bytes data) override;
  Result<ContentToken> end_file(uint64_t size) override;
  void abandon_file() override;
  void release(Bytes token) override;

  // No more files: waits for what is in flight. Before the first find().
  Result<void> finish();
  Result<StoredContent> find(Bytes token) const;
  // Ascending by file offset.
  Result<void> for_each_extent(const StoredContent& content,
                               FunctionRef<Result<void>(const PlacedExtent&)> each) const;

 private:
  // A stretch of one content in the batch being filled.
  struct Segment {
    uint64_t content, file_offset;
    uint32_t at, length;
    Encoding encoding;
  };
  struct Filling {
    std::unique_ptr<std::byte[]> raw;
    uint32_t used = 0;
    uint64_t waiting = 0;  // bytes of contents that came after its first and have none of it
    std::vector<Segment> segments;
  };
  // A content of which not all extents are placed yet.
  struct Open {
    uint64_t id = 0;
    StoredContent content;
    uint32_t batches = 0;  // that hold something of it
    bool ended = false, dropped = false;

    uint64_t memory() const { return sizeof(Open) + (content.in_item ? content.in_item->bytes.size() : 0); }
  };
  struct Encoded {
    std::vector<Segment> segments;
    EncodedBatch batch;
  };
  Open& open(uint64_t id) { return open_[id - open_.front().id]; }
  void close_segment();
  Result<void> end_open();
  Result<void> submit();
  Result<void> take_one();
  Result<void> settle();
  Result<void> record(const Open& done);

  ExtentPlacer& placer_;
  const Geometry& geometry_;
  Codecs& codecs_;
  BatchBuffers& buffers_;
  const Options options_;
  const uint32_t inline_max_;
  OrderedQueue<Encoded> queue_;
  size_t in_flight_ = 0;

  std::deque<Open> open_;     // ascending ids
  uint64_t open_memory_ = 0;  // of those that are ended
  uint64_t next_id_ = 0;
  Encoding encoding_;  // of the file being written
  uint64_t position_ = 0;
  bool in_segment_ = false;
  Filling filling_;

  Spool records_;
  // Of all contents, as they were placed: in the order of contents, since no two are written at once.
  Spool extents_;
  std::vector<uint64_t> index_;  // content id to place in records_
};

}  // namespace karst::btrfs::build

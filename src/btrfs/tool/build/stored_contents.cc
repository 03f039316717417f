#include "btrfs/tool/build/stored_contents.h"

#include <algorithm>
#include <array>

#include "core/assert.h"

namespace karst::btrfs::build {
namespace {

// What the spool has of a content; its bytes follow if they are in its item.
struct RecordHead {
  le64 size, nbytes, first_extent, extents;
  le32 inline_bytes;
  uint8_t has_inline, compression;
};

constexpr uint64_t max_open_memory = 8 << 20;

uint64_t id_of(Bytes token) { return *overlay<le64>(token); }

}  // namespace

StoredContents::StoredContents(ExtentPlacer& placer, const Geometry& geometry, Codecs& codecs,
                               BatchBuffers& buffers, WorkerPool& pool, Options options)
    : placer_(placer),
      geometry_(geometry),
      codecs_(codecs),
      buffers_(buffers),
      options_(std::move(options)),
      inline_max_(inline_limit(geometry, options_.inline_max)),
      queue_(pool, {.items = 64, .weight = options_.memory}),
      records_({.directory = options_.temporary_directory, .memory = options_.known_memory / 2}),
      extents_({.directory = options_.temporary_directory, .memory = options_.known_memory / 2}) {}

StoredContents::~StoredContents() { queue_.close(); }

Result<void> StoredContents::begin_file(std::string_view, const Properties& properties, uint64_t) {
  encoding_ = encoding_of(properties, options_.encoding);
  open_.emplace_back().id = next_id_++;
  position_ = 0;
  in_segment_ = false;
  return {};
}

// Pads the segment to whole sectors.
void StoredContents::close_segment() {
  if (!std::exchange(in_segment_, false)) return;
  const uint32_t sector = geometry_.sectorsize, end = (filling_.used + sector - 1) / sector * sector;
  std::fill(filling_.raw.get() + filling_.used, filling_.raw.get() + end, std::byte{0});
  filling_.used = end;
  Segment& segment = filling_.segments.back();
  segment.length = end - segment.at;
  open(segment.content).content.nbytes += segment.length;
}

Result<void> StoredContents::write(uint64_t offset, Bytes data) {
  const uint64_t sector = geometry_.sectorsize;
  while (!data.empty()) {
    // A hole within a sector is zeroes; a longer one ends the segment.
    if (in_segment_ && offset != position_ && offset >= (position_ + sector - 1) / sector * sector)
      close_segment();
    if (!in_segment_) {
      if (filling_.used == EncodedBatch::capacity) TRY(submit());
      if (!filling_.raw) filling_.raw = buffers_.take();
      position_ = offset / sector * sector;
      const uint64_t id = open_.back().id;
      filling_.segments.push_back({id, position_, filling_.used, 0, encoding_});
      ++open_.back().batches;
      in_segment_ = true;
    }
    auto append = [&](uint64_t length, auto&& fill) {
      const auto room =
          static_cast<uint32_t>(std::min<uint64_t>(length, EncodedBatch::capacity - filling_.used));
      fill(filling_.raw.get() + filling_.used, room);
      filling_.used += room;
      position_ += room;
      return room;
    };
    if (offset > position_)
      append(offset - position_, [](std::byte* at, size_t n) { std::memset(at, 0, n); });
    if (offset == position_) {
      const uint32_t taken =
          append(data.size(), [&](std::byte* at, size_t n) { std::memcpy(at, data.data(), n); });
      offset += taken;
      data = data.subspan(taken);
    }
    if (filling_.used == EncodedBatch::capacity) {
      close_segment();
      TRY(submit());
    }
  }
  return {};
}

Result<ContentToken> StoredContents::end_file(uint64_t size) {
  Open& file = open_.back();
  file.content.size = size;
  // All of a small file is the segment that is open.
  if (in_segment_ && file.batches == 1 && filling_.segments.back().file_offset == 0 &&
      filling_.segments.back().content == file.id && position_ <= size && size <= inline_max_ &&
      size < geometry_.sectorsize) {
    const Segment& segment = filling_.segments.back();
    std::vector<std::byte> content(size);
    std::memcpy(content.data(), filling_.raw.get() + segment.at, position_);
    file.content.in_item = TRY(encode_inline(content, encoding_, codecs_, geometry_.sectorsize));
    filling_.used = segment.at;
    filling_.segments.pop_back();
    file.batches = 0;
    in_segment_ = false;
  }
  close_segment();
  TRY(end_open());
  const le64 token = next_id_ - 1;
  const Bytes bytes = bytes_of(token);
  return ContentToken(bytes.begin(), bytes.end());
}

// Contents wait for those before them. Small ones fill no batch, so that an earlier one could wait for ever.
Result<void> StoredContents::end_open() {
  Open& file = open_.back();
  file.ended = true;
  open_memory_ += file.memory();
  if (!filling_.segments.empty()) filling_.waiting += file.memory();
  TRY(settle());
  if (filling_.waiting >= EncodedBatch::capacity) TRY(submit());
  while (in_flight_ > 0 && open_memory_ >= max_open_memory) TRY(take_one());
  return {};
}

void StoredContents::abandon_file() {
  close_segment();
  open_.back().ended = open_.back().dropped = true;
  open_memory_ += open_.back().memory();
}

void StoredContents::release(Bytes) {}

Result<void> StoredContents::submit() {
  if (filling_.segments.empty()) return {};
  const uint64_t weight = filling_.used;
  while (!queue_.has_room(weight)) TRY(take_one());
  auto work = [this, filling = std::move(filling_)]() mutable -> Result<Encoded> {
    Encoded out;
    out.batch.data = buffers_.take();
    ExtentEncoder encoder(geometry_, codecs_, placer_.shares(), out.batch);
    for (size_t i = 0; i < filling.segments.size(); ++i) {
      const Segment& segment = filling.segments[i];
      TRY(encoder.add(static_cast<uint32_t>(i), segment.file_offset,
                      {filling.raw.get() + segment.at, segment.length}, segment.encoding));
    }
    encoder.finish();
    buffers_.give_back(std::move(filling.raw));
    out.segments = std::move(filling.segments);
    return out;
  };
  filling_ = {};
  ++in_flight_;
  return queue_.submit(weight, std::move(work));
}

Result<void> StoredContents::take_one() {
  Encoded done = std::move(*TRY(queue_.next()));
  --in_flight_;
  TRY(placer_.place(done.batch, [&](uint32_t i, const PlacedExtent& extent) -> Result<void> {
    StoredContent& content = open(done.segments[i].content).content;
    if (content.extents++ == 0) content.first_extent = extents_.size() / sizeof extent;
    return extents_.append(std::as_bytes(std::span(&extent, 1)));
  }));
  for (const Segment& segment : done.segments) --open(segment.content).batches;
  buffers_.give_back(std::move(done.batch.data));
  return settle();
}

// Records the contents, from the oldest on, of which nothing is in flight.
Result<void> StoredContents::settle() {
  while (!open_.empty() && open_.front().ended && open_.front().batches == 0) {
    TRY(record(open_.front()));
    open_memory_ -= open_.front().memory();
    open_.pop_front();
  }
  return {};
}

Result<void> StoredContents::record(const Open& done) {
  VERIFY(done.id == index_.size());
  index_.push_back(records_.size());
  if (done.dropped) return {};
  const StoredContent& content = done.content;
  RecordHead head{};
  head.size = content.size;
  head.nbytes = content.in_item ? 0 : content.nbytes;
  head.first_extent = content.first_extent;
  head.extents = content.extents;
  if (content.in_item) {
    head.has_inline = 1;
    head.inline_bytes = static_cast<uint32_t>(content.in_item->bytes.size());
    head.compression = static_cast<uint8_t>(content.in_item->compression);
  }
  TRY(records_.append(bytes_of(head)));
  return content.in_item ? records_.append(content.in_item->bytes) : Result<void>();
}

Result<void> StoredContents::finish() {
  TRY(submit());
  while (in_flight_ > 0) TRY(take_one());
  queue_.finish();
  VERIFY(open_.empty());
  return {};
}

Result<StoredContent> StoredContents::find(Bytes token) const {
  StoredContent content;
  uint64_t at = index_[id_of(token)];
  RecordHead head;
  TRY(records_.read(at, {reinterpret_cast<std::byte*>(&head), sizeof head}));
  at += sizeof head;
  content.size = head.size;
  content.nbytes = head.nbytes;
  if (head.has_inline) {
    content.in_item.emplace();
    content.in_item->compression = Compression(head.compression);
    content.in_item->bytes.resize(head.inline_bytes);
    TRY(records_.read(at, content.in_item->bytes));
  }
  content.first_extent = head.first_extent;
  content.extents = head.extents;
  return content;
}

Result<void> StoredContents::for_each_extent(const StoredContent& content,
                                             FunctionRef<Result<void>(const PlacedExtent&)> each) const {
  std::array<PlacedExtent, 256> some;
  for (uint64_t done = 0; done < content.extents;) {
    const uint64_t count = std::min<uint64_t>(some.size(), content.extents - done);
    TRY(extents_.read((content.first_extent + done) * sizeof(PlacedExtent),
                      std::as_writable_bytes(std::span(some).first(count))));
    for (uint64_t i = 0; i < count; ++i) TRY(each(some[i]));
    done += count;
  }
  return {};
}

}  // namespace karst::btrfs::build

#include "btrfs/tool/export.h"

#include <memory>
#include <unordered_map>

#include "btrfs/file/xattr.h"
#include "btrfs/tool/tar_writer.h"
#include "core/ordered_queue.h"
#include "core/per_thread.h"

namespace karst::btrfs {
namespace {

constexpr uint64_t piece_size = 1 << 20;   // contents that one task reads
constexpr size_t batch_entries = 256;      // entries that one task formats
constexpr uint64_t entry_weight = 1024;    // headers, names and attributes of one entry
constexpr size_t sector_slack = 64 << 10;  // room for the last sector of the last file of a piece

// Buffers of one piece's size, used again: a fresh one costs a page fault for every 4 KiB.
class BufferPool {
 public:
  using Buffer = std::unique_ptr<std::byte[]>;
  static constexpr size_t size = piece_size + sector_slack;
  Buffer take() {
    MutexLock lock(mutex_);
    if (idle_.empty()) return std::make_unique_for_overwrite<std::byte[]>(size);
    Buffer buffer = std::move(idle_.back());
    idle_.pop_back();
    return buffer;
  }
  void give(Buffer buffer) {
    MutexLock lock(mutex_);
    idle_.push_back(std::move(buffer));
  }

 private:
  static constexpr LockClass lock_class{"btrfs.export.buffers"};
  Mutex mutex_{lock_class};
  std::vector<Buffer> idle_ GUARDED_BY(mutex_);
};

// What a task made: a part of the archive.
struct Part {
  TarBuffers buffers;
  BufferPool::Buffer contents;  // what `buffers` borrows
  uint64_t entries = 0, bytes = 0, sockets = 0, errors = 0;
};

struct PlannedEntry {
  TarEntry tar;
  InodeId id;
  bool plain_size = false;  // regular, with contents in this batch
};

// A thread's working state.
struct ThreadState {
  ThreadState(const Filesystem& fs, DataCache& data) : reader(fs, data) {}
  DataReader reader;
  uint64_t subvolume = 0;
  Cursor cursor;  // of that subvolume's tree
};

class Exporter {
 public:
  Exporter(const Image& image, const ExportOptions& options, WorkerPool& pool, TarSink sink)
      : fs_(image.fs()),
        options_(options),
        sink_(sink),
        threads_([&image] { return std::make_unique<ThreadState>(image.fs(), image.data()); }),
        queue_(pool, {.items = 1024, .weight = options.memory}, {.cancel = options.cancel}) {}

  Result<ExportReport> run(const Located& start);

 private:
  // In the walking thread.
  Result<void> plan(const WalkEntry& entry);
  Result<void> plan_large(PlannedEntry entry);
  Result<void> submit_batch();
  Result<void> submit(uint64_t weight, OrderedQueue<Part>::Work work);
  Result<bool> write_next();
  Result<bool> find_data(PlannedEntry& entry, FunctionRef<uint64_t(const FileRange&)> length_of);
  uint64_t readable_length(const FileRange& range) const;

  // In tasks.
  void announce_batch(std::vector<PlannedEntry>& entries);
  Result<Part> make_batch(std::vector<PlannedEntry> entries);
  Result<Part> make_header(PlannedEntry entry);
  Result<Part> make_piece(const PlannedEntry& entry, uint64_t offset, uint64_t length, size_t padding);
  Result<void> complete(ThreadState& thread, PlannedEntry& entry);
  Result<void> read_contents(ThreadState& thread, const PlannedEntry& entry, uint64_t offset,
                             MutableBytes room, size_t length, Part& part);
  ThreadState& thread_for(uint64_t subvolume, Result<void>& outcome);
  void report(const std::string& path, const Error& error, const char* what);

  const Filesystem& fs_;
  const ExportOptions& options_;
  TarSink sink_;
  BufferPool buffers_;
  PerThread<ThreadState> threads_;
  ExportReport report_;
  uint64_t written_ = 0;

  std::vector<PlannedEntry> batch_;
  uint64_t batch_bytes_ = 0;
  struct FirstName {
    std::string path;
    uint32_t names_left;
  };
  std::unordered_map<InodeId, FirstName> first_names_;  // of inodes with several links
  OrderedQueue<Part> queue_;                            // last: its tasks use all of the above
};

std::string archive_path(const WalkEntry& entry) {
  std::string path = "./";
  path += entry.path;
  if (entry.attributes.is_directory() && !entry.path.empty()) path += '/';
  return path;
}

Result<ExportReport> Exporter::run(const Located& start) {
  Walker walker(fs_, start, options_.walk);
  for (;;) {
    TRY(options_.cancel.check());
    auto entry = walker.next();
    if (!entry) {
      ++report_.errors;
      fs_.log().error("cannot be exported", {}, &entry.error());
      continue;
    }
    if (!*entry) break;
    TRY(plan(**entry));
  }
  TRY(submit_batch());
  queue_.finish();
  while (TRY(write_next())) {
  }
  TarBuffers end;
  end.zeroes(end_padding(written_));
  TRY(sink_(end.vectors()));
  return report_;
}

// Writes the oldest part, waiting for it; false at the end.
Result<bool> Exporter::write_next() {
  auto part = TRY(queue_.next());
  if (!part) return false;
  TRY(sink_(part->buffers.vectors()));
  written_ += part->buffers.size();
  report_.entries += part->entries;
  report_.bytes += part->bytes;
  report_.sockets += part->sockets;
  report_.errors += part->errors;
  if (part->contents) buffers_.give(std::move(part->contents));
  return true;
}

Result<void> Exporter::submit(uint64_t weight, OrderedQueue<Part>::Work work) {
  while (!queue_.has_room(weight)) TRY(write_next());
  return queue_.submit(weight, std::move(work));
}

Result<void> Exporter::plan(const WalkEntry& entry) {
  options_.progress.add(0, 1);
  PlannedEntry planned;
  planned.id = entry.id;
  planned.tar.path = archive_path(entry);
  planned.tar.attributes = entry.attributes;
  const Attributes& attributes = entry.attributes;
  if (S_ISSOCK(attributes.mode)) {
    ++report_.sockets;
    return {};
  }
  if (attributes.nlink > 1 && !attributes.is_directory()) {
    auto [first, inserted] =
        first_names_.try_emplace(entry.id, FirstName{planned.tar.path, attributes.nlink - 1});
    if (!inserted) {
      planned.tar.hardlink = first->second.path;
      if (--first->second.names_left == 0) first_names_.erase(first);
    }
  }
  if (attributes.is_regular() && planned.tar.hardlink.empty() && attributes.size > 0) {
    if (attributes.size > piece_size) return plan_large(std::move(planned));
    planned.plain_size = true;
    // Each file's contents begin a sector in the piece, so that whole sectors are read in place.
    uint64_t room = (attributes.size + fs_.geometry().sectorsize - 1) / fs_.geometry().sectorsize *
                    fs_.geometry().sectorsize;
    if (batch_bytes_ + room > piece_size) TRY(submit_batch());
    batch_bytes_ += room;
  }
  batch_.push_back(std::move(planned));
  if (batch_.size() == batch_entries) TRY(submit_batch());
  return {};
}

Result<void> Exporter::submit_batch() {
  if (batch_.empty()) return {};
  uint64_t weight = batch_bytes_ + batch_.size() * entry_weight;
  batch_bytes_ = 0;
  auto entries = std::exchange(batch_, {});
  return submit(weight,
                [this, entries = std::move(entries)]() mutable { return make_batch(std::move(entries)); });
}

// How much of an extent it makes sense to try to read. Sizes are claims of the image: without this, a file
// with one extent of 8 EiB would be read for years, in vain.
uint64_t Exporter::readable_length(const FileRange& range) const {
  if (range.kind != RangeKind::data) return range.length;
  const Volume& volume = fs_.volume();
  const bool compressed = range.compression != Compression::none;
  const uint64_t whole = compressed ? range.ram_bytes : range.disk_num_bytes;
  if (range.extent_offset > whole || range.length > whole - range.extent_offset) return 0;
  if (!compressed)
    return volume.reachable_length(Logical(range.disk_bytenr + range.extent_offset), range.length);
  bool all =
      volume.reachable_length(Logical(range.disk_bytenr), range.disk_num_bytes) == range.disk_num_bytes;
  return all ? range.length : 0;
}

// Lists what is not a hole, as far as length_of() says of each range; whether the file has holes at all.
Result<bool> Exporter::find_data(PlannedEntry& entry, FunctionRef<uint64_t(const FileRange&)> length_of) {
  Cursor cursor(TRY(fs_.tree(entry.id.subvolume)));
  const Attributes& file = entry.tar.attributes;
  ExtentWalker walker(cursor, file.inode, file.size, fs_.geometry().sectorsize);
  bool holes = false;
  auto& data = entry.tar.data;
  for (auto range = TRY(walker.seek(0)); range; range = TRY(walker.next())) {
    const uint64_t length = range->reads_as_zeroes() ? 0 : length_of(*range);
    if (length < range->length) holes = true;
    if (length == 0) continue;
    if (!data.empty() && data.back().first + data.back().second == range->offset)
      data.back().second += length;
    else
      data.emplace_back(range->offset, length);
  }
  return holes;
}

Result<void> Exporter::plan_large(PlannedEntry entry) {
  TRY(submit_batch());
  const uint64_t size = entry.tar.attributes.size;
  auto holes = find_data(entry, [&](const FileRange& range) {
    uint64_t length = readable_length(range);
    if (length < range.length) {
      Error error = Error(karst::err::corrupt, "file extent reaches outside the devices or its disk extent")
                        .at("offset", range.offset + length)
                        .at("length", range.length - length)
                        .at("extent", range.disk_bytenr);
      report(entry.tar.path, error, "a range of a file cannot be read and is a hole in the archive");
      ++report_.errors;
    }
    return length;
  });
  if (!holes) {
    report(entry.tar.path, holes.error(), "a file's extents cannot be listed");
    ++report_.errors;
  }
  // Where the list ends early, the rest is tried to be read, if there can be that much.
  const bool listed = holes.has_value();
  entry.tar.sparse = listed ? *holes : size > fs_.volume().device_bytes();
  if (!entry.tar.sparse) entry.tar.data = {{0, size}};
  uint64_t contents = 0;
  for (auto [offset, length] : entry.tar.data) contents += length;
  auto shared = std::make_shared<const PlannedEntry>(entry);
  const auto data = entry.tar.data;
  TRY(submit(entry_weight + data.size() * 64,
             [this, entry = std::move(entry)]() mutable { return make_header(std::move(entry)); }));
  uint64_t done = 0;
  auto ahead = fs_.tree(shared->id.subvolume);
  for (auto [offset, length] : data) {
    for (uint64_t at = 0; at < length;) {
      uint64_t some = std::min(piece_size - (offset + at) % piece_size, length - at);
      done += some;
      if (ahead) (void)threads_.get().reader.will_read(*ahead, shared->tar.attributes, offset + at, some);
      size_t padding = done == contents ? contents_padding(contents) : 0;
      TRY(submit(some, [this, shared, from = offset + at, some, padding] {
        return make_piece(*shared, from, some, padding);
      }));
      at += some;
    }
  }
  return {};
}

void Exporter::report(const std::string& path, const Error& error, const char* what) {
  fs_.log().error(what, {{"path", path}}, &error);
}

ThreadState& Exporter::thread_for(uint64_t subvolume, Result<void>& outcome) {
  ThreadState& thread = threads_.get();
  if (thread.subvolume == subvolume) return thread;
  auto tree = fs_.tree(subvolume);
  if (!tree) {
    outcome = std::move(tree).error();
    return thread;
  }
  thread.cursor = Cursor(*tree);
  thread.subvolume = subvolume;
  return thread;
}

// What the walk left out: attributes and a link's target.
Result<void> Exporter::complete(ThreadState& thread, PlannedEntry& entry) {
  if (!entry.tar.hardlink.empty() || entry.id.is_empty_subvolume()) return {};
  const Attributes& attributes = entry.tar.attributes;
  if (attributes.is_symlink()) entry.tar.symlink = TRY(read_symlink(thread.cursor, attributes));
  return for_each_xattr(thread.cursor, attributes.inode,
                        [&](std::string_view name, Bytes value) -> Result<void> {
                          entry.tar.xattrs.emplace_back(name, as_text(value));
                          return {};
                        });
}

Result<void> Exporter::read_contents(ThreadState& thread, const PlannedEntry& entry, uint64_t offset,
                                     MutableBytes room, size_t length, Part& part) {
  std::vector<DataReader::Failure> failures;
  Tree tree = TRY(fs_.tree(entry.id.subvolume));
  TRY(thread.reader.read_salvaging(tree, entry.tar.attributes, offset, room.first(length), failures));
  for (const auto& failure : failures) {
    ++part.errors;
    fs_.log().error("a range of a file cannot be read and is zeroes in the archive",
                    {{"path", entry.tar.path}, {"offset", failure.offset}, {"length", failure.length}},
                    &failure.error);
  }
  part.bytes += length;
  options_.progress.add(length, 0);
  return {};
}

// Lists the extents of a batch's files, and tells the devices to read them all before the first is waited
// for.
void Exporter::announce_batch(std::vector<PlannedEntry>& entries) {
  std::vector<std::pair<uint64_t, uint64_t>> soon;  // logical address, length
  for (PlannedEntry& entry : entries) {
    if (!entry.plain_size) continue;
    auto holes = find_data(entry, [&](const FileRange& range) {
      const bool whole = range.compression != Compression::none;
      if (range.kind == RangeKind::data)
        soon.emplace_back(range.disk_bytenr + (whole ? 0 : range.extent_offset),
                          whole ? range.disk_num_bytes : range.length);
      return range.length;
    });
    entry.tar.sparse = holes && *holes;
  }
  std::sort(soon.begin(), soon.end());
  for (size_t i = 0; i < soon.size();) {
    auto [start, length] = soon[i];
    // Files made together lie together; the end of one's last sector is the start of the next.
    const uint64_t gap = fs_.geometry().sectorsize;
    for (++i; i < soon.size() && soon[i].first - start <= length + gap && length < piece_size; ++i)
      length = std::max(length, soon[i].first - start + std::min(soon[i].second, piece_size));
    fs_.volume().will_read(Logical(start), std::min(length, 2 * piece_size));
  }
}

Result<Part> Exporter::make_batch(std::vector<PlannedEntry> entries) {
  Part part;
  announce_batch(entries);
  TarWriter writer(part.buffers);
  size_t used = 0;
  for (PlannedEntry& entry : entries) {
    Result<void> outcome;
    ThreadState& thread = thread_for(entry.id.subvolume, outcome);
    if (outcome) outcome = complete(thread, entry);
    MutableBytes contents;
    if (outcome && entry.plain_size) {
      if (!part.contents) part.contents = buffers_.take();
      size_t size = entry.tar.attributes.size;
      MutableBytes room = MutableBytes(part.contents.get(), BufferPool::size).subspan(used);
      contents = room.first(size);
      outcome = read_contents(thread, entry, 0, room, size, part);
      used += (size + fs_.geometry().sectorsize - 1) / fs_.geometry().sectorsize * fs_.geometry().sectorsize;
    }
    if (outcome) outcome = writer.add(entry.tar, contents);
    if (outcome) {
      ++part.entries;
      continue;
    }
    ++part.errors;
    report(entry.tar.path, outcome.error(), "cannot be exported");
  }
  return part;
}

Result<Part> Exporter::make_header(PlannedEntry entry) {
  Part part;
  Result<void> outcome;
  ThreadState& thread = thread_for(entry.id.subvolume, outcome);
  if (outcome) outcome = complete(thread, entry);
  if (!outcome) {
    ++part.errors;
    report(entry.tar.path, outcome.error(), "attributes cannot be read");
    entry.tar.xattrs.clear();
  }
  TarWriter writer(part.buffers);
  TRY(writer.add_header(entry.tar));
  part.entries = 1;
  return part;
}

Result<Part> Exporter::make_piece(const PlannedEntry& entry, uint64_t offset, uint64_t length,
                                  size_t padding) {
  Part part;
  part.contents = buffers_.take();
  Result<void> outcome;
  ThreadState& thread = thread_for(entry.id.subvolume, outcome);
  MutableBytes room(part.contents.get(), BufferPool::size);
  if (outcome) outcome = read_contents(thread, entry, offset, room, length, part);
  if (!outcome) {
    std::fill_n(room.begin(), length, std::byte{});
    ++part.errors;
    report(entry.tar.path, outcome.error(), "contents cannot be read");
  }
  part.buffers.borrow(room.first(length));
  part.buffers.zeroes(padding);
  return part;
}

}  // namespace

Result<ExportReport> export_tar(const Image& image, const Located& start, const ExportOptions& options,
                                WorkerPool& pool, TarSink sink) {
  return Exporter(image, options, pool, sink).run(start);
}

}  // namespace karst::btrfs

#include "btrfs/tool/copy_tree.h"

#include <algorithm>
#include <unordered_map>

#include "btrfs/file/lost_inode.h"
#include "btrfs/file/xattr.h"
#include "core/ordered_queue.h"
#include "core/per_thread.h"

namespace karst::btrfs {
namespace {

constexpr uint64_t piece_size = 1 << 20;   // contents that one task reads
constexpr size_t batch_entries = 256;      // entries that one task makes
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
  static constexpr LockClass lock_class{"btrfs.copy.buffers"};
  Mutex mutex_{lock_class};
  std::vector<Buffer> idle_ GUARDED_BY(mutex_);
};

// What a task made: a part of the copy.
struct Part {
  std::unique_ptr<CopyTarget::Part> made;
  BufferPool::Buffer contents;  // what `made` borrows
  uint64_t entries = 0, bytes = 0;
  std::vector<CopyLoss> losses;
};

struct PlannedEntry {
  CopiedEntry copied;
  InodeId id;
  bool plain_size = false;  // regular, with contents in this batch
};

// A thread's working state.
struct ThreadState {
  ThreadState(const Filesystem& fs, DataCache& data, bool give_unverified) : reader(fs, data) {
    reader.give_unverified(give_unverified);
  }
  DataReader reader;
  uint64_t subvolume = 0;
  Cursor cursor;  // of that subvolume's tree
};

bool ends_the_copy(const Error& error) {
  return error.is(karst::err::no_space) || error.is(karst::err::read_only) ||
         error.is(karst::err::cancelled) || error.is(karst::err::no_memory);
}

class TreeCopier {
 public:
  TreeCopier(const Filesystem& fs, DataCache& data, EntrySource& source, CopyTarget& target,
             const CopyOptions& options, WorkerPool& pool, LossListener lost)
      : fs_(fs),
        options_(options),
        source_(source),
        target_(target),
        lost_(lost),
        threads_([&fs, &data, &options] {
          return std::make_unique<ThreadState>(fs, data, options.give_unverified);
        }),
        queue_(pool, {.items = 1024, .weight = options.memory}, {.cancel = options.cancel}) {}

  Result<CopyReport> run();

 private:
  // In the walking thread.
  Result<void> plan(const WalkEntry& entry);
  Result<void> plan_large(PlannedEntry entry);
  Result<bool> prepare(const CopiedEntry& entry);
  Result<void> submit_batch();
  Result<void> submit(uint64_t weight, OrderedQueue<Part>::Work work);
  Result<bool> take_next();
  Result<bool> find_data(PlannedEntry& entry, FunctionRef<uint64_t(const FileRange&)> length_of);
  uint64_t readable_length(const FileRange& range) const;
  void lose(CopyLoss loss);

  // In tasks.
  void announce_batch(std::vector<PlannedEntry>& entries);
  Result<Part> make_batch(std::vector<PlannedEntry> entries);
  Result<Part> make_header(PlannedEntry entry);
  Result<Part> make_piece(const PlannedEntry& entry, uint64_t offset, uint64_t length, bool last);
  void tell_doubts(ThreadState& thread, const PlannedEntry& entry, const std::string& path, Part& part);
  Result<void> complete(ThreadState& thread, PlannedEntry& entry, Part& part);
  Result<void> read_contents(ThreadState& thread, const PlannedEntry& entry, uint64_t offset,
                             MutableBytes room, size_t length, Part& part,
                             std::vector<DataReader::Failure>& failures);
  ThreadState& thread_for(uint64_t subvolume, Result<void>& outcome);

  const Filesystem& fs_;
  const CopyOptions& options_;
  EntrySource& source_;
  CopyTarget& target_;
  LossListener lost_;
  BufferPool buffers_;
  PerThread<ThreadState> threads_;
  CopyReport report_;

  std::vector<PlannedEntry> batch_;
  uint64_t batch_bytes_ = 0;
  struct FirstName {
    std::string path;
    uint32_t names_left;
  };
  std::unordered_map<InodeId, FirstName> first_names_;  // of inodes with several links
  OrderedQueue<Part> queue_;                            // last: its tasks use all of the above
};

Result<CopyReport> TreeCopier::run() {
  for (;;) {
    TRY(options_.cancel.check());
    auto entry = source_.next();
    if (!entry) {
      lose({CopyLoss::Kind::entry, "", 0, 0, std::move(entry).error()});
      continue;
    }
    if (!*entry) break;
    TRY(plan(**entry));
  }
  TRY(submit_batch());
  queue_.finish();
  while (TRY(take_next())) {
  }
  return report_;
}

void TreeCopier::lose(CopyLoss loss) {
  ++report_.losses;
  lost_(loss);
}

// Takes the oldest part over, waiting for it; false at the end.
Result<bool> TreeCopier::take_next() {
  auto part = TRY(queue_.next());
  if (!part) return false;
  TRY(target_.take(*part->made));
  report_.entries += part->entries;
  report_.bytes += part->bytes;
  for (CopyLoss& loss : part->losses) lose(std::move(loss));
  if (part->contents) buffers_.give(std::move(part->contents));
  return true;
}

Result<void> TreeCopier::submit(uint64_t weight, OrderedQueue<Part>::Work work) {
  while (!queue_.has_room(weight)) TRY(take_next());
  return queue_.submit(weight, std::move(work));
}

Result<void> TreeCopier::plan(const WalkEntry& entry) {
  options_.progress.add(0, 1);
  PlannedEntry planned;
  planned.id = entry.id;
  planned.copied.path = entry.path;
  planned.copied.attributes = entry.attributes;
  const Attributes& attributes = entry.attributes;
  if (S_ISSOCK(attributes.mode) && !target_.takes_sockets()) {
    ++report_.sockets;
    return {};
  }
  if (attributes.nlink > 1 && !attributes.is_directory()) {
    auto [first, inserted] =
        first_names_.try_emplace(entry.id, FirstName{planned.copied.path, attributes.nlink - 1});
    if (!inserted) {
      planned.copied.hardlink = first->second.path;
      if (--first->second.names_left == 0) first_names_.erase(first);
    }
  }
  if (planned.copied.has_contents() && attributes.size > 0) {
    if (attributes.size > piece_size) return plan_large(std::move(planned));
    planned.plain_size = true;
    // Each file's contents begin a sector in the piece, so that whole sectors are read in place.
    uint64_t room = (attributes.size + fs_.geometry().sectorsize - 1) / fs_.geometry().sectorsize *
                    fs_.geometry().sectorsize;
    if (batch_bytes_ + room > piece_size) TRY(submit_batch());
    batch_bytes_ += room;
  }
  if (attributes.is_directory() && !TRY(prepare(planned.copied))) return {};
  batch_.push_back(std::move(planned));
  if (batch_.size() == batch_entries) TRY(submit_batch());
  return {};
}

// False if the target has no place for the entry: then that is told.
Result<bool> TreeCopier::prepare(const CopiedEntry& entry) {
  auto prepared = target_.prepare(entry);
  if (prepared) return true;
  if (ends_the_copy(prepared.error())) return std::move(prepared).error();
  target_.failed(entry);
  lose({CopyLoss::Kind::entry, entry.path, 0, 0, std::move(prepared).error()});
  return false;
}

Result<void> TreeCopier::submit_batch() {
  if (batch_.empty()) return {};
  uint64_t weight = batch_bytes_ + batch_.size() * entry_weight;
  batch_bytes_ = 0;
  auto entries = std::exchange(batch_, {});
  return submit(weight,
                [this, entries = std::move(entries)]() mutable { return make_batch(std::move(entries)); });
}

// How much of an extent it makes sense to try to read. Sizes are claims of the image: without this, a file
// with one extent of 8 EiB would be read for years, in vain.
uint64_t TreeCopier::readable_length(const FileRange& range) const {
  if (range.kind == RangeKind::lost) return 0;
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
Result<bool> TreeCopier::find_data(PlannedEntry& entry, FunctionRef<uint64_t(const FileRange&)> length_of) {
  Cursor cursor(TRY(fs_.tree(entry.id.subvolume)));
  const Attributes& file = entry.copied.attributes;
  ExtentWalker walker(cursor, file.inode, file.size, fs_.geometry().sectorsize);
  bool holes = false;
  auto& data = entry.copied.data;
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

Result<void> TreeCopier::plan_large(PlannedEntry entry) {
  TRY(submit_batch());
  const std::string path = entry.copied.path;
  const uint64_t size = entry.copied.attributes.size;
  if (!TRY(prepare(entry.copied))) return {};
  auto holes = find_data(entry, [&](const FileRange& range) {
    uint64_t length = readable_length(range);
    if (range.kind == RangeKind::lost) {
      Error error(karst::err::corrupt, "what the file has here is not known: its extent items are lost");
      lose({CopyLoss::Kind::range, path, range.offset, range.length, std::move(error)});
    } else if (length < range.length) {
      Error error = Error(karst::err::corrupt, "file extent reaches outside the devices or its disk extent")
                        .at("extent", range.disk_bytenr);
      lose({CopyLoss::Kind::unreachable, path, range.offset + length, range.length - length,
            std::move(error)});
    }
    return length;
  });
  if (!holes) lose({CopyLoss::Kind::extents, path, 0, 0, std::move(holes).error()});
  // Where the list ends early, the rest is tried to be read, if there can be that much.
  const bool listed = holes.has_value();
  entry.copied.sparse = listed ? *holes : size > fs_.volume().device_bytes();
  if (!entry.copied.sparse) entry.copied.data = {{0, size}};
  uint64_t contents = 0;
  for (auto [offset, length] : entry.copied.data) contents += length;
  auto shared = std::make_shared<const PlannedEntry>(entry);
  const auto& data = shared->copied.data;
  TRY(submit(entry_weight + data.size() * 64,
             [this, entry = std::move(entry)]() mutable { return make_header(std::move(entry)); }));
  uint64_t done = 0;
  auto ahead = fs_.tree(shared->id.subvolume);
  for (auto [offset, length] : data) {
    for (uint64_t at = 0; at < length;) {
      uint64_t some = std::min(piece_size - (offset + at) % piece_size, length - at);
      done += some;
      if (ahead) (void)threads_.get().reader.will_read(*ahead, shared->copied.attributes, offset + at, some);
      TRY(submit(some, [this, shared, from = offset + at, some, last = done == contents] {
        return make_piece(*shared, from, some, last);
      }));
      at += some;
    }
  }
  return {};
}

ThreadState& TreeCopier::thread_for(uint64_t subvolume, Result<void>& outcome) {
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
Result<void> TreeCopier::complete(ThreadState& thread, PlannedEntry& entry, Part& part) {
  if (!entry.copied.hardlink.empty() || entry.id.is_empty_subvolume()) return {};
  const Attributes& attributes = entry.copied.attributes;
  if (attributes.is_symlink()) entry.copied.symlink = TRY(read_symlink(thread.cursor, attributes));
  auto listed = for_each_xattr(thread.cursor, attributes.inode,
                               [&](std::string_view name, Bytes value) -> Result<void> {
                                 entry.copied.xattrs.emplace_back(name, as_text(value));
                                 return {};
                               });
  if (!listed)
    part.losses.push_back({CopyLoss::Kind::attributes, entry.copied.path, 0, 0, std::move(listed).error()});
  else if (thread.cursor.is_lost({attributes.inode, ItemType::xattr_item, 0},
                                 {attributes.inode, ItemType::xattr_item, ~0ull}))
    part.losses.push_back({CopyLoss::Kind::attributes, entry.copied.path, 0, 0,
                           Error(karst::err::corrupt, "extended attributes may be lost")});
  return {};
}

// Of what was copied: its items have all been read, and what is wrong with them noted. Directories are told
// by the walk, which reads their entries.
void TreeCopier::tell_doubts(ThreadState& thread, const PlannedEntry& entry, const std::string& path,
                             Part& part) {
  const uint64_t inode = entry.id.inode;
  if (entry.copied.attributes.is_directory() ||
      !thread.cursor.is_doubtful(first_key_of(inode), last_key_of(inode)))
    return;
  part.losses.push_back(older_file(path, inode));
}

Result<void> TreeCopier::read_contents(ThreadState& thread, const PlannedEntry& entry, uint64_t offset,
                                       MutableBytes room, size_t length, Part& part,
                                       std::vector<DataReader::Failure>& failures) {
  Tree tree = TRY(fs_.tree(entry.id.subvolume));
  TRY(thread.reader.read_salvaging(tree, entry.copied.attributes, offset, room.first(length), failures));
  for (const auto& failure : failures)
    part.losses.push_back({failure.unverified ? CopyLoss::Kind::unverified : CopyLoss::Kind::range,
                           entry.copied.path, failure.offset, failure.length, failure.error.clone()});
  part.bytes += length;
  options_.progress.add(length, 0);
  return {};
}

// Lists the extents of a batch's files, and tells the devices to read them all before the first is waited
// for.
void TreeCopier::announce_batch(std::vector<PlannedEntry>& entries) {
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
    entry.copied.sparse = holes && *holes;
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

Result<Part> TreeCopier::make_batch(std::vector<PlannedEntry> entries) {
  Part part;
  part.made = target_.new_part();
  announce_batch(entries);
  size_t used = 0;
  std::vector<DataReader::Failure> failures;
  for (PlannedEntry& entry : entries) {
    Result<void> outcome;
    ThreadState& thread = thread_for(entry.id.subvolume, outcome);
    if (outcome) outcome = complete(thread, entry, part);
    MutableBytes contents;
    failures.clear();
    const std::string path = entry.copied.path;
    if (outcome && entry.plain_size) {
      if (!part.contents) part.contents = buffers_.take();
      size_t size = entry.copied.attributes.size;
      MutableBytes room = MutableBytes(part.contents.get(), BufferPool::size).subspan(used);
      contents = room.first(size);
      outcome = read_contents(thread, entry, 0, room, size, part, failures);
      used += (size + fs_.geometry().sectorsize - 1) / fs_.geometry().sectorsize * fs_.geometry().sectorsize;
    }
    if (outcome) outcome = target_.add(*part.made, entry.copied, contents, failures);
    if (outcome) {
      ++part.entries;
      tell_doubts(thread, entry, path, part);
      continue;
    }
    if (ends_the_copy(outcome.error())) return std::move(outcome).error();
    entry.copied.path = path;  // the target may have changed it
    target_.failed(entry.copied);
    part.losses.push_back({CopyLoss::Kind::entry, path, 0, 0, std::move(outcome).error()});
  }
  return part;
}

Result<Part> TreeCopier::make_header(PlannedEntry entry) {
  Part part;
  part.made = target_.new_part();
  Result<void> outcome;
  ThreadState& thread = thread_for(entry.id.subvolume, outcome);
  if (outcome) outcome = complete(thread, entry, part);
  if (!outcome) {
    part.losses.push_back({CopyLoss::Kind::attributes, entry.copied.path, 0, 0, std::move(outcome).error()});
    entry.copied.xattrs.clear();
  }
  tell_doubts(thread, entry, entry.copied.path, part);
  TRY(target_.begin_pieces(*part.made, entry.copied));
  part.entries = 1;
  return part;
}

Result<Part> TreeCopier::make_piece(const PlannedEntry& entry, uint64_t offset, uint64_t length, bool last) {
  Part part;
  part.made = target_.new_part();
  part.contents = buffers_.take();
  Result<void> outcome;
  std::vector<DataReader::Failure> failures;
  ThreadState& thread = thread_for(entry.id.subvolume, outcome);
  MutableBytes room(part.contents.get(), BufferPool::size);
  if (outcome) outcome = read_contents(thread, entry, offset, room, length, part, failures);
  if (!outcome) {
    std::fill_n(room.begin(), length, std::byte{});
    part.losses.push_back(
        {CopyLoss::Kind::range, entry.copied.path, offset, length, outcome.error().clone()});
    failures.push_back({offset, length, std::move(outcome).error()});
  }
  auto added = target_.add_piece(*part.made, entry.copied, offset, room.first(length), failures, last);
  if (added) return part;
  if (ends_the_copy(added.error())) return std::move(added).error();
  part.losses.push_back({CopyLoss::Kind::range, entry.copied.path, offset, length, std::move(added).error()});
  return part;
}

}  // namespace

const char* loss_name(CopyLoss::Kind kind) {
  switch (kind) {
    case CopyLoss::Kind::entry: return "entry";
    case CopyLoss::Kind::attributes: return "attributes";
    case CopyLoss::Kind::extents: return "extents";
    case CopyLoss::Kind::unreachable: return "unreachable";
    case CopyLoss::Kind::range: return "range";
    case CopyLoss::Kind::unverified: return "unverified";
    case CopyLoss::Kind::names: return "names";
    case CopyLoss::Kind::older: return "older";
  }
  return "";
}

CopyLoss older_file(std::string path, uint64_t inode) {
  return {CopyLoss::Kind::older, std::move(path), 0, 0,
          Error(karst::err::corrupt, "this file may be of an older state").at("inode", inode)};
}

Result<CopyReport> copy_tree(const Filesystem& fs, DataCache& data, EntrySource& source, CopyTarget& target,
                             const CopyOptions& options, WorkerPool& pool, LossListener lost) {
  return TreeCopier(fs, data, source, target, options, pool, lost).run();
}

}  // namespace karst::btrfs

#include "thin/pool/volume.h"

#include <algorithm>

#include "thin/format/errors.h"

namespace karst::thin {
namespace {

constexpr LockClass frozen_lock{"thin.volume-frozen"};

// The kernel's limit for a discard of one thin device: 1024 blocks. Source: Linux
// drivers/md/dm-bio-prison-v1.h, BIO_PRISON_MAX_RANGE.
constexpr uint64_t discard_blocks_max = 1024;

using block::IoFlags;
using block::IoOp;
using block::IoRequest;

// The request's bytes from `skip` on, as many as fit.
void copy_from(const IoRequest& request, uint64_t skip, MutableBytes into) {
  block::for_each_piece(request.buffers, [&](MutableBytes piece, uint64_t position) {
    const uint64_t begin = std::max(position, skip),
                   end = std::min(position + piece.size(), skip + into.size());
    if (begin < end)
      std::ranges::copy(piece.subspan(begin - position, end - begin),
                        into.begin() + static_cast<ptrdiff_t>(begin - skip));
  });
}

}  // namespace

Volume::Volume(PoolRef pool, ThinDeviceRef device, uint64_t size, std::shared_ptr<block::Device> origin)
    : pool_(std::move(pool)),
      device_(std::move(device)),
      name_(fmt::format("{}#{}", pool_->options().name, device_->id())),
      size_(size),
      block_bytes_(pool_->block_size()),
      block_size_(pool_->sector_bytes()),
      origin_(std::move(origin)),
      table_((size + block_bytes_ - 1) / block_bytes_, pool_->pages()),
      frozen_mutex_(frozen_lock) {
  pool_->metadata().set_watcher(*device_, table_);
}

Volume::~Volume() {
  pool_->forget(*this);
  pool_->metadata().remove_watcher(*device_, table_);
  // What is under way for this volume has its own reference; housekeeping of the pool may be looking at the
  // table.
  pool_->in_flight().drain();
}

uint64_t Volume::discard_granularity() const { return pool_->handles_discards() ? block_bytes_ : 0; }
uint64_t Volume::discard_max() const {
  return pool_->handles_discards() ? discard_blocks_max * block_bytes_ : 0;
}

// ---- lookups; all inside a pass

std::optional<Volume::Entry> Volume::find_now(VirtualBlock block) const {
  const Entry entry = table_.find(block);
  return entry.known == MappingTable::Known::unknown ? std::nullopt : std::optional(entry);
}

Result<Volume::Entry> Volume::find(VirtualBlock block) {
  if (const auto known = find_now(block)) return *known;
  const auto range = table_.make_page(block);
  TRY(pool_->metadata().tell(*device_, range.from, range.to));
  if (const auto known = find_now(block)) return *known;
  // There is no room for its page.
  const auto mapping = TRY(pool_->metadata().find(*device_, block));
  if (!mapping) return Entry{MappingTable::Known::unmapped, {}};
  return Entry{MappingTable::Known::mapped, *mapping};
}

std::optional<Volume::Place> Volume::locate(const IoRequest& request) {
  const bool writes = request.op == IoOp::write;
  if ((request.op != IoOp::read && !writes) || request.length == 0) return std::nullopt;
  if (abandoned_.load(std::memory_order_relaxed) || pool_->mode() == PoolMode::fail) return std::nullopt;
  const VirtualBlock block = block_at(request.offset);
  if (block_at(request.offset + request.length - 1) != block) return std::nullopt;
  InFlight::Pass pass = pool_->in_flight().enter();
  if (writes && is_frozen()) return std::nullopt;
  const auto entry = find_now(block);
  if (!entry || entry->known != MappingTable::Known::mapped) return std::nullopt;
  if (writes && !is_written_in_place(*entry)) return std::nullopt;
  // A FUA write says that its mapping is durable too.
  if (makes_stable(request) && !pool_->metadata().is_durable(device_->changed_in())) return std::nullopt;
  return Place{std::move(pass), data_offset(entry->mapping, request.offset)};
}

std::optional<block::DirectIo> Volume::begin_direct(const IoRequest& request) {
  auto place = locate(request);
  if (!place) return std::nullopt;
  IoRequest below = request.again();
  below.offset = place->offset;
  auto io = pool_->data().begin_direct(below);
  if (io) io->token = place->pass.release();
  return io;
}

// The data device says where it failed; whose bytes those were, it cannot know.
block::Completion Volume::on_completion(const IoRequest& request, Result<void>& outcome) {
  if (!outcome && outcome.error().is(err::io))
    outcome = std::move(outcome).error().while_doing(fmt::format(
        "{} of {} bytes at {} of {}", name_of(request.op), request.length, request.offset, name_));
  return block::Completion::done;
}

void Volume::end_direct(const block::DirectIo& io) { pool_->in_flight().adopt(io.token).leave(); }

void Volume::abandon() {
  abandoned_ = true;
  pool_->wake_waiting();
}

Result<void> Volume::perform(const IoRequest& request) {
  if (abandoned_) return Error(err::cancelled, "nobody needs the volume any more").at("device", name_);
  if (pool_->mode() == PoolMode::fail) return Error(err::failed, "the pool has failed").at("device", name_);
  if (has(request.flags, IoFlags::nowait)) {
    const auto place = locate(request);
    if (!place) return Error(err::would_block, "the request has to wait").at("device", name_);
    IoRequest below = request.again();
    below.offset = place->offset;
    return pool_->data().resubmit_unaccounted(std::move(below));
  }
  switch (request.op) {
    case IoOp::read: return serve_read(request);
    case IoOp::write: return serve_write(request);
    case IoOp::flush: return serve_flush();
    case IoOp::discard: return serve_discard(request);
    case IoOp::write_zeroes: return serve_write_zeroes(request);
  }
  return {};
}

// The part's bytes from or to the data device.
Result<void> Volume::transfer(const Part& part, uint64_t data_offset, IoFlags flags) {
  if (part.skip == 0 && part.length == part.request.length) {
    IoRequest whole = part.request.again();
    whole.offset = data_offset;
    whole.flags = flags;
    return pool_->data().resubmit_unaccounted(std::move(whole));
  }
  for (uint64_t done = 0; done < part.length;) {
    iovec pieces[64];
    size_t count = 0;
    const uint64_t covered =
        block::slice_buffers(part.request.buffers, part.skip + done, part.length - done, pieces, count);
    TRY(pool_->data().resubmit_unaccounted({.op = part.request.op,
                                            .flags = flags,
                                            .offset = data_offset + done,
                                            .length = covered,
                                            .buffers = std::span(pieces).first(count)}));
    done += covered;
  }
  return {};
}

// ---- reading

Result<void> Volume::serve_read(const IoRequest& request) {
  const InFlight::Pass pass = pool_->in_flight().enter();
  for (uint64_t done = 0; done < request.length;) {
    const uint64_t offset = request.offset + done;
    const Entry first = TRY(find(block_at(offset)));
    // As far as it goes on like this.
    uint64_t length = std::min(block_bytes_ - offset % block_bytes_, request.length - done);
    while (done + length < request.length) {
      const Entry next = TRY(find(block_at(offset + length)));
      const uint64_t blocks = raw(block_at(offset + length)) - raw(block_at(offset));
      if (next.known != first.known) break;
      if (first.known == MappingTable::Known::mapped &&
          raw(next.mapping.block) != raw(first.mapping.block) + blocks)
        break;
      length += std::min(block_bytes_, request.length - done - length);
    }
    const Part part{request, offset, length, done};
    if (first.known == MappingTable::Known::mapped)
      TRY(transfer(part, data_offset(first.mapping, offset), IoFlags::none));
    else
      TRY(read_unmapped(part));
    done += length;
  }
  return {};
}

Result<void> Volume::read_unmapped(const Part& part) {
  // Of an origin that is shorter than the volume, the rest is zeroes.
  const uint64_t origin_end = origin_ ? origin_->size() : 0;
  Result<void> outcome;
  block::for_each_piece(part.request.buffers, [&](MutableBytes piece, uint64_t position) {
    const uint64_t begin = std::max(position, part.skip),
                   end = std::min(position + piece.size(), part.skip + part.length);
    if (begin >= end || !outcome) return;
    const MutableBytes into = piece.subspan(begin - position, end - begin);
    const uint64_t offset = part.offset + begin - part.skip;
    const uint64_t from_origin =
        offset < origin_end ? std::min<uint64_t>(origin_end - offset, into.size()) : 0;
    if (from_origin > 0) outcome = origin_->read(offset, into.first(from_origin));
    std::ranges::fill(into.subspan(from_origin), std::byte{0});
  });
  return outcome;
}

// ---- writing

Result<void> Volume::serve_write(const IoRequest& request) {
  for (uint64_t done = 0; done < request.length;) {
    const uint64_t offset = request.offset + done;
    const uint64_t length = std::min(block_bytes_ - offset % block_bytes_, request.length - done);
    const Part part{request, offset, length, done};
    done += length;
    {
      const InFlight::Pass pass = pool_->in_flight().enter();
      const auto entry = is_frozen() ? std::nullopt : find_now(block_at(offset));
      if (entry && is_written_in_place(*entry)) {
        TRY(transfer(part, data_offset(entry->mapping, offset), request.flags));
        continue;
      }
    }
    TRY(write_slowly(part));
  }
  if (makes_stable(request) && !pool_->metadata().is_durable(device_->changed_in()))
    return pool_->make_durable(*device_);
  return {};
}

namespace {

// A block that is reserved until it is used.
class Reservation {
 public:
  explicit Reservation(PoolMetadata& metadata) : metadata_(metadata) {}
  ~Reservation() {
    if (block_) metadata_.unreserve(*block_);
  }
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  void set(DataBlock block) { block_ = block; }
  explicit operator bool() const { return block_.has_value(); }
  DataBlock block() const { return *block_; }
  void used() { block_.reset(); }

 private:
  PoolMetadata& metadata_;
  std::optional<DataBlock> block_;
};

}  // namespace

// A write to one block that may have to be mapped, or mapped anew.
Result<void> Volume::write_slowly(const Part& part) {
  const VirtualBlock block = block_at(part.offset);
  PoolMetadata& metadata = pool_->metadata();
  const Cells::Hold cell(pool_->cells(), device_->id(), raw(block), raw(block) + 1);
  Reservation reserved(metadata);
  Result<void> written;
  for (;;) {
    // What may take long waits outside of the pass, and then everything is looked at again.
    enum class Next : uint8_t { done, thaw, reserve } next = Next::thaw;
    TRY(pool_->change("dm_thin_insert_block", [&]() -> Result<void> {
      const InFlight::Pass pass = pool_->in_flight().enter();
      if (is_frozen()) return {};
      // A mapping that cannot be read concerns this request alone.
      auto found = find(block);
      if (!found) {
        written = std::move(found).error();
        next = Next::done;
        return {};
      }
      const Entry& old = *found;
      if (is_written_in_place(old)) {
        written = transfer(part, data_offset(old.mapping, part.offset), part.request.flags);
        next = Next::done;
        return {};
      }
      next = reserved ? Next::done : Next::reserve;
      if (!reserved) return {};
      written = fill_block(part, old, reserved.block());
      if (!written) return {};
      TRY(metadata.insert(*device_, block, reserved.block()));
      reserved.used();
      return {};
    }));
    if (next == Next::done) return written;
    if (next == Next::thaw)
      wait_until_thawed();
    else
      reserved.set(TRY(pool_->reserve_block(abandoned_)));
  }
}

// What a block held before, or would be read as.
Result<void> Volume::read_old(const Entry& old, VirtualBlock block, uint64_t at, MutableBytes into) {
  if (old.known == MappingTable::Known::mapped) return pool_->data().read(data_offset(old.mapping, at), into);
  const iovec buffer{into.data(), into.size()};
  const uint64_t offset = raw(block) * block_bytes_ + at;
  const IoRequest request{.op = IoOp::read, .offset = offset, .length = into.size(), .buffers = {&buffer, 1}};
  return read_unmapped({request, offset, into.size(), 0});
}

// Writes the part into a block that nobody else knows yet, and around it what was there before.
Result<void> Volume::fill_block(const Part& part, const Entry& old, DataBlock target) {
  const uint64_t base = raw(target) * block_bytes_, begin = part.offset % block_bytes_,
                 end = begin + part.length;
  const bool covers = part.length == block_bytes_;
  const bool keeps_nothing =
      old.known == MappingTable::Known::unmapped && !origin_ && !pool_->options().features.zero_new_blocks;
  if (covers || keeps_nothing) return transfer(part, base + begin, IoFlags::none);
  const BlockBuffers::Loan loan(pool_->buffers());
  for (uint64_t at = 0; at < block_bytes_; at += loan.bytes().size()) {
    const MutableBytes chunk = loan.bytes().first(std::min<uint64_t>(loan.bytes().size(), block_bytes_ - at));
    const uint64_t chunk_end = at + chunk.size();
    if (at < begin || chunk_end > end) TRY(read_old(old, block_at(part.offset), at, chunk));
    const uint64_t from = std::max(at, begin), to = std::min(chunk_end, end);
    if (from < to) copy_from(part.request, part.skip + from - begin, chunk.subspan(from - at, to - from));
    TRY(pool_->data().write(base + at, chunk));
  }
  return {};
}

Result<void> Volume::serve_flush() {
  if (device_->has_lost_changes())
    return Error(err::failed, "changes since the last flush were given up with the pool's transaction")
        .at("device", name_);
  return pool_->make_durable(*device_);
}

// ---- discarding

Result<void> Volume::serve_discard(const IoRequest& request) {
  TRY(unmap(request.offset, request.length));
  return makes_stable(request) ? pool_->make_durable(*device_) : Result<void>();
}

Result<void> Volume::unmap(uint64_t offset, uint64_t length) {
  if (!pool_->handles_discards())
    return Error(err::unsupported, "the pool ignores discards").at("device", name_);
  // A pool that cannot change answers them and does nothing, as the kernel does.
  if (!can_change(pool_->mode())) return {};
  // Whole blocks only; the last block of a volume may be short.
  const uint64_t end = offset + length;
  const uint64_t from = (offset + block_bytes_ - 1) / block_bytes_;
  const uint64_t to = end == size_ ? (end + block_bytes_ - 1) / block_bytes_ : end / block_bytes_;
  for (uint64_t at = from; at < to; at += discard_blocks_max)
    TRY(discard_blocks(VirtualBlock{at}, VirtualBlock{std::min(at + discard_blocks_max, to)}));
  return {};
}

Result<void> Volume::discard_blocks(VirtualBlock from, VirtualBlock to) {
  const bool passes_down = pool_->passes_discards_down();
  struct Run {
    uint64_t begin, end;
  };
  std::vector<Run> unused;  // data blocks that nobody has any more
  const Cells::Hold cell(pool_->cells(), device_->id(), raw(from), raw(to));
  PoolMetadata& metadata = pool_->metadata();
  const auto note_unused = [&](VirtualBlock, Mapping mapping, bool last) {
    if (!last) return;
    const uint64_t block = raw(mapping.block);
    if (!unused.empty() && unused.back().end == block)
      ++unused.back().end;
    else
      unused.push_back({block, block + 1});
  };
  const auto freed = passes_down ? PoolMetadata::Freed::kept : PoolMetadata::Freed::given_back;
  for (bool done = false; !done;) {
    TRY(pool_->change("dm_thin_remove_range", [&]() -> Result<void> {
      const InFlight::Pass pass = pool_->in_flight().enter();
      if (is_frozen()) return {};
      done = true;
      return metadata.erase(*device_, from, to, freed, note_unused);
    }));
    if (!done) wait_until_thawed();
  }
  if (!passes_down || unused.empty()) return {};
  // Who read or wrote these blocks has to be done with them; nobody gets them before they are given back
  // (TH-042).
  pool_->in_flight().drain();
  for (const Run& run : unused) {
    pass_down(DataBlock{run.begin}, run.end - run.begin);
    metadata.give_back(DataBlock{run.begin}, run.end - run.begin);
  }
  return {};
}

// A hint: whatever the device below says, nothing is lost, and the blocks are free (TH-049).
void Volume::pass_down(DataBlock begin, uint64_t count) {
  const auto discarded = pool_->data().discard(raw(begin) * block_bytes_, count * block_bytes_);
  if (!discarded && !discarded.error().is(err::unsupported))
    pool_->options().log.warning("a discard was not passed down", {{"pool", pool_->options().name}},
                                 &discarded.error());
}

Result<void> Volume::serve_write_zeroes(const IoRequest& request) {
  const uint64_t end = request.offset + request.length;
  // Blocks that nothing but zeroes lies behind are unmapped, if they may be; the rest is written.
  const bool can_unmap = !has(request.flags, IoFlags::no_unmap) && !origin_ && pool_->handles_discards() &&
                         can_change(pool_->mode());
  const uint64_t from = std::min(end, (request.offset + block_bytes_ - 1) / block_bytes_ * block_bytes_);
  const uint64_t to = std::max(from, end / block_bytes_ * block_bytes_);
  if (!can_unmap || from == to) {
    TRY(write_zero_bytes(request.offset, request.length));
  } else {
    TRY(write_zero_bytes(request.offset, from - request.offset));
    TRY(unmap(from, to - from));
    TRY(write_zero_bytes(to, end - to));
  }
  if (makes_stable(request)) return pool_->make_durable(*device_);
  return {};
}

Result<void> Volume::write_zero_bytes(uint64_t offset, uint64_t length) {
  static constexpr std::byte zeroes[64 << 10] = {};
  for (uint64_t done = 0; done < length;) {
    const uint64_t piece = std::min<uint64_t>(sizeof zeroes, length - done);
    const iovec buffer{const_cast<std::byte*>(zeroes), piece};
    TRY(serve_write({.op = IoOp::write, .offset = offset + done, .length = piece, .buffers = {&buffer, 1}}));
    done += piece;
  }
  return {};
}

// ---- what is mapped

Result<void> Volume::extents(uint64_t offset, uint64_t length, block::ExtentListener each) {
  // The listener may do I/O, and the walk holds a lock: it looks at so many blocks at a time.
  constexpr uint64_t blocks_at_once = 1 << 16;
  const uint64_t end = offset + length;
  const uint64_t origin_end = origin_ ? std::min(end, origin_->size()) : 0;
  block::ExtentRuns runs(offset, end, each);
  std::vector<std::pair<uint64_t, uint64_t>> mapped;  // blocks [first, second)
  const auto tell_unmapped = [&](uint64_t from, uint64_t to) -> Result<void> {
    if (from < std::min(to, origin_end))
      TRY(origin_->extents(from, std::min(to, origin_end) - from, [&](uint64_t at, uint64_t run, bool data) {
        runs.extend(at + run, data);
        return runs.wanted();
      }));
    runs.extend(to, false);
    return {};
  };
  uint64_t told = offset;
  for (uint64_t block = raw(block_at(offset)); told < end && runs.wanted(); block += blocks_at_once) {
    const uint64_t window_end = std::min(end, (block + blocks_at_once) * block_bytes_);
    mapped.clear();
    TRY(pool_->metadata().walk(*device_, VirtualBlock{block},
                               VirtualBlock{(window_end + block_bytes_ - 1) / block_bytes_},
                               [&](VirtualBlock found, Mapping) {
                                 if (!mapped.empty() && mapped.back().second == raw(found))
                                   ++mapped.back().second;
                                 else
                                   mapped.emplace_back(raw(found), raw(found) + 1);
                                 return true;
                               }));
    for (const auto& [first, last] : mapped) {
      if (!runs.wanted()) return {};
      TRY(tell_unmapped(told, std::min(window_end, first * block_bytes_)));
      told = std::min(window_end, last * block_bytes_);
      runs.extend(told, true);
    }
    TRY(tell_unmapped(told, window_end));
    told = window_end;
  }
  runs.end();
  return {};
}

// ---- waiting for snapshots

void Volume::freeze() {
  pool_->assert_one_snapshot();
  ASSERT(!is_frozen());
  frozen_.store(true);
  pool_->in_flight().drain();
}

void Volume::thaw() {
  MutexLock lock(frozen_mutex_);
  frozen_.store(false);
  thawed_.notify_all();
}

void Volume::wait_until_thawed() {
  MutexLock lock(frozen_mutex_);
  while (is_frozen()) thawed_.wait(frozen_mutex_);
}

}  // namespace karst::thin

#include "btrfs/file/data.h"

#include <algorithm>
#include <cstring>

namespace karst::btrfs {
namespace {

constexpr uint64_t window = 1 << 20;        // bytes of a file that are in flight together
constexpr size_t scratch_limit = 2 << 20;   // raw bytes in flight beside the caller's buffer
constexpr uint64_t small_read = 256 << 10;  // up to here, one read and a copy beat three reads

uint64_t round_down(uint64_t value, uint64_t unit) { return value / unit * unit; }
uint64_t round_up(uint64_t value, uint64_t unit) { return round_down(value + unit - 1, unit); }
void zero(MutableBytes bytes) { std::fill(bytes.begin(), bytes.end(), std::byte{}); }

bool has_checksums(const Attributes& file) { return (file.flags & inode_flag::nodatasum) == 0; }

// What `whole` has from `from` on; zeroes beyond its end.
void copy_part(Bytes whole, uint64_t from, MutableBytes destination) {
  size_t have = whole.size() > from ? std::min<size_t>(whole.size() - from, destination.size()) : 0;
  std::copy_n(whole.data() + std::min<uint64_t>(from, whole.size()), have, destination.data());
  zero(destination.subspan(have));
}

Error extent_error(const FileRange& range, std::string what) {
  return Error(karst::err::corrupt, std::move(what))
      .at("file offset", range.offset)
      .at("extent", range.disk_bytenr);
}

}  // namespace

DataReader::DataReader(const Filesystem& fs, DataCache& shared)
    : fs_(fs), shared_(shared), checksums_(fs), queue_(block::make_queue()) {}
DataReader::~DataReader() = default;

void DataReader::bind(const Tree& tree) {
  if (tree_ && tree_->id == tree.id && tree_->root.address == tree.root.address) return;
  tree_ = tree;
  cursor_ = Cursor(tree);
}

Result<size_t> DataReader::read(const Tree& tree, const Attributes& file, uint64_t offset,
                                MutableBytes destination) {
  return read_all(tree, file, offset, destination, nullptr);
}

Result<size_t> DataReader::read_salvaging(const Tree& tree, const Attributes& file, uint64_t offset,
                                          MutableBytes destination, std::vector<Failure>& failures) {
  return read_all(tree, file, offset, destination, &failures);
}

Result<size_t> DataReader::read_all(const Tree& tree, const Attributes& file, uint64_t offset,
                                    MutableBytes destination, Failures* failures) {
  bind(tree);
  if (offset >= file.size) return size_t{0};
  const size_t total = std::min<uint64_t>(destination.size(), file.size - offset);
  for (size_t done = 0; done < total;) {
    size_t some = std::min<uint64_t>(window - (offset + done) % window, total - done);
    TRY(read_window(
        {file, offset + done, destination.subspan(done, some), destination.subspan(done), failures}));
    done += some;
  }
  return total;
}

namespace {

void add_failure(std::vector<DataReader::Failure>& failures, DataReader::Failure failure) {
  if (!failures.empty()) {
    DataReader::Failure& last = failures.back();
    if (last.offset + last.length == failure.offset && &last.error.kind() == &failure.error.kind() &&
        last.unverified == failure.unverified) {
      last.length += failure.length;
      return;
    }
  }
  failures.push_back(std::move(failure));
}

}  // namespace

// Records a range that cannot be read, or gives the error up.
Result<void> DataReader::fail(const Job& job, uint64_t offset, MutableBytes destination, Error error) {
  if (!job.failures) return error;
  zero(destination);
  add_failure(*job.failures, {offset, destination.size(), std::move(error)});
  return {};
}

Result<void> DataReader::read_window(const Job& job) {
  pieces_.clear();
  scratch_used_ = 0;
  ExtentWalker walker(cursor_, job.file.inode, job.file.size, fs_.geometry().sectorsize);
  const uint64_t end = job.offset + job.destination.size();
  uint64_t at = job.offset;
  auto walked = [&]() -> Result<void> {
    auto range = TRY(walker.seek(at));
    while (range && at < end) {
      uint64_t to = std::min(range->end(), end);
      MutableBytes part = job.destination.subspan(at - job.offset, to - at);
      auto planned = plan(job, *range, at, part);
      if (!planned) TRY(fail(job, at, part, std::move(planned).error()));
      at = to;
      if (at < end) range = TRY(walker.next());
    }
    return {};
  }();
  TRY(flush(job));
  if (!walked) return fail(job, at, job.destination.subspan(at - job.offset), std::move(walked).error());
  return {};
}

Result<void> DataReader::plan(const Job& job, const FileRange& range, uint64_t from,
                              MutableBytes destination) {
  if (range.reads_as_zeroes()) {
    zero(destination);
    return {};
  }
  if (range.kind == RangeKind::lost)
    return Error(karst::err::corrupt, "what the file has here is not known: its extent items are lost");
  if (range.kind == RangeKind::inline_data) return read_inline(range, from, destination);
  if (range.compression == Compression::none) return plan_plain(job, range, from, destination);
  return plan_compressed(job, range, from, destination);
}

Result<void> DataReader::read_inline(const FileRange& range, uint64_t from, MutableBytes destination) {
  uint64_t skip = from - range.offset;
  Bytes bytes = range.inline_bytes;
  if (range.compression != Compression::none) {
    if (range.ram_bytes > compressed_extent_max)
      return extent_error(range, "inline extent claims to be too large").at("ram_bytes", range.ram_bytes);
    plain_.resize(range.ram_bytes);
    TRY(decompressor_.decompress_inline(range.compression, bytes, plain_, fs_.geometry().sectorsize));
    bytes = plain_;
  }
  copy_part(bytes, skip, destination);
  return {};
}

// Raw sectors go straight into the caller's buffer where they are whole; partial ones through scratch.
Result<void> DataReader::plan_plain(const Job& job, const FileRange& range, uint64_t from,
                                    MutableBytes destination) {
  const uint64_t sector = fs_.geometry().sectorsize;
  const uint64_t start = range.disk_bytenr + range.extent_offset + (from - range.offset);
  const uint64_t end = start + destination.size();
  if (range.extent_offset > range.disk_num_bytes || range.length > range.disk_num_bytes - range.extent_offset)
    return extent_error(range, "file extent reaches outside its disk extent")
        .at("bytes", range.disk_num_bytes);
  auto add = [&](uint64_t logical, MutableBytes raw, uint64_t file_offset, MutableBytes part, bool direct) {
    pieces_.push_back({range, file_offset, part, logical, raw, direct});
  };
  if (start % sector == 0) {
    // The last sector of a file may run over into what is left of the caller's buffer.
    uint64_t whole = round_up(destination.size(), sector);
    size_t room = job.room.size() - static_cast<size_t>(destination.data() - job.room.data());
    bool at_end = from + destination.size() == job.file.size;
    if (whole == destination.size() || (at_end && whole <= room)) {
      add(start, {destination.data(), whole}, from, destination, true);
      return {};
    }
  }
  if (destination.size() <= small_read) {
    uint64_t first = round_down(start, sector), last = round_up(end, sector);
    MutableBytes raw = TRY(take_scratch(job, last - first));
    add(first, raw, from, destination, false);
    return {};
  }
  uint64_t head = (sector - start % sector) % sector;
  uint64_t body = round_down(destination.size() - head, sector);
  uint64_t tail = destination.size() - head - body;
  if (head)
    add(round_down(start, sector), TRY(take_scratch(job, sector)), from, destination.first(head), false);
  add(start + head, destination.subspan(head, body), from + head, destination.subspan(head, body), true);
  if (tail) {
    MutableBytes raw = TRY(take_scratch(job, sector));
    add(start + head + body, raw, from + head + body, destination.subspan(head + body), false);
  }
  return {};
}

Result<void> DataReader::plan_compressed(const Job& job, const FileRange& range, uint64_t from,
                                         MutableBytes destination) {
  if (range.ram_bytes > compressed_extent_max || range.disk_num_bytes > compressed_extent_max)
    return extent_error(range, "compressed extent is too large")
        .at("ram_bytes", range.ram_bytes)
        .at("bytes", range.disk_num_bytes);
  if (range.extent_offset > range.ram_bytes ||
      range.length > round_up(range.ram_bytes, fs_.geometry().sectorsize) - range.extent_offset)
    return extent_error(range, "file extent reaches outside its decompressed extent")
        .at("ram_bytes", range.ram_bytes);
  if (copy_cached(job, range, from, destination)) return {};
  MutableBytes raw = TRY(take_scratch(job, range.disk_num_bytes));
  pieces_.push_back({range, from, destination, range.disk_bytenr, raw, false});
  return {};
}

// Space for raw bytes until the next flush; flushes what is planned when there is no more.
Result<MutableBytes> DataReader::take_scratch(const Job& job, uint64_t length) {
  if (length > scratch_.size() - scratch_used_) {
    if (!pieces_.empty()) TRY(flush(job));
    scratch_used_ = 0;
    if (scratch_.size() < scratch_limit || scratch_.size() < length)
      scratch_.resize(std::max<size_t>(std::min(scratch_limit, scratch_.size() * 2),
                                       std::max<size_t>(length, small_read)));
  }
  MutableBytes taken = MutableBytes(scratch_).subspan(scratch_used_, length);
  scratch_used_ += length;
  return taken;
}

// Reads everything planned in one batch, then verifies and delivers piece by piece.
Result<void> DataReader::flush(const Job& job) {
  requests_.clear();
  const ChunkEntry* last_chunk = nullptr;
  for (Piece& piece : pieces_) {
    const ChunkEntry* chunk = fs_.volume().chunks().find(piece.logical).value_or(nullptr);
    if (!requests_.empty() && chunk == last_chunk) {
      // Neighbours on the volume whose buffers are neighbours too are one read; within one chunk, since
      // copies of another one are others.
      Volume::ReadRequest& last = requests_.back();
      if (raw(last.address) + last.destination.size() == piece.logical &&
          last.destination.data() + last.destination.size() == piece.raw.data()) {
        last.destination = {last.destination.data(), last.destination.size() + piece.raw.size()};
        piece.request = requests_.size() - 1;
        continue;
      }
    }
    last_chunk = chunk;
    piece.request = requests_.size();
    requests_.push_back(
        {Logical(piece.logical), piece.raw, chunk ? fs_.volume().first_copy(*chunk, piece.logical) : 0, {}});
  }
  if (!requests_.empty()) fs_.volume().read_batch(*queue_, requests_);
  auto pieces = std::move(pieces_);
  pieces_.clear();
  for (Piece& piece : pieces) {
    auto finished = finish(job, piece);
    if (!finished) TRY(fail(job, piece.file_offset, piece.destination, std::move(finished).error()));
  }
  pieces.clear();
  pieces_ = std::move(pieces);  // keeps the capacity
  scratch_used_ = 0;
  return {};
}

Result<void> DataReader::find_checksums(const Job& job, const Piece& piece) {
  auto found = checksums_.find(piece.logical, piece.raw.size(), sums_);
  if (found || !give_unverified_ || !job.failures) return found;
  // Without a checksum tree all of them are missing.
  const size_t sectors = piece.raw.size() / fs_.geometry().sectorsize;
  sums_.sums.assign(sectors * fs_.geometry().checksum_size, std::byte{});
  sums_.present.assign(sectors, false);
  sums_.complete = false;
  return {};
}

// A sector of which no copy is good, as the first copy that can be read has it.
Result<void> DataReader::take_unverified(const Job& job, const Piece& piece, uint32_t sector) {
  if (!give_unverified_ || !job.failures)
    return Error(karst::err::checksum, "unverified data was not asked for");
  const uint32_t size = fs_.geometry().sectorsize;
  const auto address = Logical(piece.logical + uint64_t{sector} * size);
  const int copies = TRY(fs_.volume().copies(address));
  Result<void> read = Error(karst::err::io, "no copy");
  for (int copy = 0; copy < copies && !read; ++copy)
    read = fs_.volume().read_copy(address, piece.raw.subspan(size_t{sector} * size, size), copy);
  return read;
}

Result<void> DataReader::finish(const Job& job, Piece& piece) {
  const Geometry& geometry = fs_.geometry();
  const auto& outcome = *requests_[piece.request].outcome;
  const bool checked = has_checksums(job.file);
  std::vector<uint32_t> bad;
  if (checked) TRY(find_checksums(job, piece));
  if (!outcome) {
    for (uint32_t i = 0; i < piece.raw.size() / geometry.sectorsize; ++i) bad.push_back(i);
  } else if (checked) {
    bad = bad_sectors(geometry, piece.raw, sums_);
  }
  const bool compressed = piece.range.compression != Compression::none;
  for (uint32_t sector : bad) {
    if (!outcome && read_again(job, piece, sector)) continue;
    Error reason =
        outcome ? sector_error(geometry, piece.logical, piece.raw, sums_, sector) : outcome.error().clone();
    reason = std::move(reason)
                 .at("inode", job.file.inode)
                 .at("tree", root_name(tree_->id))
                 .at("file offset", piece.file_offset);
    auto repaired = repair(job, piece, sector, std::move(reason));
    if (repaired) continue;
    const bool given = take_unverified(job, piece, sector).has_value();
    if (compressed && given) {
      add_failure(*job.failures,
                  {piece.file_offset, piece.destination.size(), std::move(repaired).error(), true});
      continue;
    }
    if (compressed) return repaired;
    // Only what lies in this sector is lost.
    uint64_t within = piece.logical - (piece.range.disk_bytenr + piece.range.extent_offset) +
                      uint64_t{sector} * geometry.sectorsize;
    uint64_t start =
        piece.range.offset + within;  // of the sector, in the file; may wrap below the first byte
    int64_t skew = static_cast<int64_t>(start - piece.file_offset);
    size_t from = skew < 0 ? 0 : static_cast<size_t>(skew);
    size_t to = std::min<size_t>(static_cast<size_t>(skew + static_cast<int64_t>(geometry.sectorsize)),
                                 piece.destination.size());
    if (from >= to) continue;
    if (given) {
      add_failure(*job.failures, {piece.file_offset + from, to - from, std::move(repaired).error(), true});
      continue;
    }
    if (!piece.direct)
      std::fill_n(piece.raw.begin() + sector * geometry.sectorsize, geometry.sectorsize, std::byte{});
    TRY(fail(job, piece.file_offset + from, piece.destination.subspan(from, to - from),
             std::move(repaired).error()));
  }
  if (compressed) return deliver_compressed(job, piece);
  if (!piece.direct) {
    uint64_t start =
        piece.range.disk_bytenr + piece.range.extent_offset + (piece.file_offset - piece.range.offset);
    std::copy_n(piece.raw.begin() + static_cast<ptrdiff_t>(start - piece.logical), piece.destination.size(),
                piece.destination.begin());
  }
  return {};
}

Result<void> DataReader::verify_sector(const Job& job, const Piece& piece, uint32_t sector) const {
  const Geometry& geometry = fs_.geometry();
  if (!has_checksums(job.file)) return {};
  if (!sums_.present[sector]) return sector_error(geometry, piece.logical, piece.raw, sums_, sector);
  std::array<std::byte, 32> found;
  auto out = std::span(found).first(geometry.checksum_size);
  Bytes bytes = piece.raw.subspan(sector * geometry.sectorsize, geometry.sectorsize);
  compute_checksums(geometry.checksum_type, bytes, geometry.sectorsize, out);
  if (std::equal(out.begin(), out.end(), sums_.sums.begin() + sector * geometry.checksum_size)) return {};
  return sector_error(geometry, piece.logical, piece.raw, sums_, sector);
}

// One sector of a read that failed as a whole: it need not be the one that failed.
Result<void> DataReader::read_again(const Job& job, Piece& piece, uint32_t sector) {
  const uint32_t size = fs_.geometry().sectorsize;
  TRY(fs_.volume().read_copy(Logical(piece.logical + uint64_t{sector} * size),
                             piece.raw.subspan(sector * size, size), requests_[piece.request].copy));
  return verify_sector(job, piece, sector);
}

Result<void> DataReader::repair(const Job& job, Piece& piece, uint32_t sector, Error reason) {
  const uint32_t size = fs_.geometry().sectorsize;
  return fs_.volume().read_other_copies(Logical(piece.logical + uint64_t{sector} * size),
                                        piece.raw.subspan(sector * size, size), requests_[piece.request].copy,
                                        std::move(reason), [&] { return verify_sector(job, piece, sector); });
}

Result<void> DataReader::deliver_compressed(const Job& job, Piece& piece) {
  const FileRange& range = piece.range;
  const uint32_t sector = fs_.geometry().sectorsize;
  uint64_t from = range.extent_offset + (piece.file_offset - range.offset);
  if (from == 0 && piece.destination.size() == range.ram_bytes) {
    TRY(decompressor_.decompress(range.compression, piece.raw, piece.destination, sector));
    return {};
  }
  if (piece.destination.size() == range.length) {
    // All that the file has of the extent, as at its end: nobody will ask for the rest.
    plain_.resize(range.ram_bytes);
    TRY(decompressor_.decompress(range.compression, piece.raw, plain_, sector));
    copy_part(plain_, from, piece.destination);
    return {};
  }
  // Only a part is wanted: the rest will be asked for soon, so the whole extent goes into the cache.
  auto fill = [&](MutableBytes whole) -> Result<void> {
    TRY(decompressor_.decompress(range.compression, piece.raw, whole, sector));
    return {};
  };
  auto folio = TRY(shared_.cache().get(shared_.key(range.disk_bytenr, has_checksums(job.file)),
                                       range.ram_bytes, cache::Residence::on_demand, fill));
  if (copy_cached(job, range, piece.file_offset, piece.destination)) return {};
  cache::Mapping mapping(folio);
  copy_part(mapping.bytes(), from, piece.destination);
  return {};
}

bool DataReader::copy_cached(const Job& job, const FileRange& range, uint64_t from,
                             MutableBytes destination) {
  auto folio = shared_.cache().find(shared_.key(range.disk_bytenr, has_checksums(job.file)));
  if (!folio || folio.size() != range.ram_bytes) return false;
  uint64_t skip = range.extent_offset + (from - range.offset);
  cache::Mapping mapping(folio);
  copy_part(mapping.bytes(), skip, destination);
  return true;
}

namespace {
bool is_hole(const FileRange& range) { return range.reads_as_zeroes(); }
}  // namespace

Result<std::optional<uint64_t>> DataReader::seek_data(const Tree& tree, const Attributes& file,
                                                      uint64_t offset) {
  bind(tree);
  if (offset >= file.size) return std::optional<uint64_t>();
  ExtentWalker walker(cursor_, file.inode, file.size, fs_.geometry().sectorsize);
  auto range = TRY(walker.seek(offset));
  while (range && is_hole(*range)) range = TRY(walker.next());
  if (!range) return std::optional<uint64_t>();
  return std::optional<uint64_t>(std::max(offset, range->offset));
}

Result<std::optional<uint64_t>> DataReader::seek_hole(const Tree& tree, const Attributes& file,
                                                      uint64_t offset) {
  bind(tree);
  if (offset >= file.size) return std::optional<uint64_t>();
  ExtentWalker walker(cursor_, file.inode, file.size, fs_.geometry().sectorsize);
  auto range = TRY(walker.seek(offset));
  while (range && !is_hole(*range)) range = TRY(walker.next());
  return std::optional<uint64_t>(range ? std::max(offset, range->offset) : file.size);
}

Result<void> DataReader::will_read(const Tree& tree, const Attributes& file, uint64_t offset,
                                   uint64_t length) {
  bind(tree);
  ExtentWalker walker(cursor_, file.inode, file.size, fs_.geometry().sectorsize);
  const uint64_t end = length > file.size || offset > file.size - length ? file.size : offset + length;
  for (auto range = TRY(walker.seek(offset)); range && range->offset < end; range = TRY(walker.next())) {
    if (range->kind != RangeKind::data) continue;
    if (range->compression != Compression::none) {
      fs_.volume().will_read(Logical(range->disk_bytenr),
                             std::min<uint64_t>(range->disk_num_bytes, compressed_extent_max));
      continue;
    }
    uint64_t from = std::max(range->offset, offset), to = std::min(range->end(), end);
    fs_.volume().will_read(Logical(range->disk_bytenr + range->extent_offset + (from - range->offset)),
                           to - from);
  }
  return {};
}

}  // namespace karst::btrfs

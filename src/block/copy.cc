#include "block/copy.h"

#include <algorithm>

#include "core/ordered_queue.h"

namespace karst::block {
namespace {

constexpr uint64_t piece_size = 1 << 20;
constexpr size_t pieces_read_ahead = 8;

struct Piece {
  uint64_t offset = 0;
  std::vector<std::byte> bytes;
};

// Writes the runs of a piece that are not zero, unit by unit.
Result<uint64_t> write_piece(Device& to, const Piece& piece, uint64_t unit) {
  uint64_t written = 0;
  const uint64_t end = piece.bytes.size();
  const auto unit_end = [&](uint64_t at) { return std::min(end, at + unit - (piece.offset + at) % unit); };
  const auto is_zero = [&](uint64_t at) {
    return all_zero(Bytes(piece.bytes).subspan(at, unit_end(at) - at));
  };
  for (uint64_t begin = 0; begin < end;) {
    if (is_zero(begin)) {
      begin = unit_end(begin);
      continue;
    }
    uint64_t run_end = unit_end(begin);
    while (run_end < end && !is_zero(run_end)) run_end = unit_end(run_end);
    TRY(to.write(piece.offset + begin, Bytes(piece.bytes).subspan(begin, run_end - begin)));
    written += run_end - begin;
    begin = run_end;
  }
  return written;
}

}  // namespace

Result<CopyReport> copy_device(Device& from, Device& to, WorkerPool& pool, const CopyOptions& options) {
  const uint64_t block = to.block_size(), size = from.size();
  const uint64_t rounded = (size + block - 1) / block * block;
  if (rounded > to.size())
    return Error(err::no_space, "the target is smaller").at("device", to.name()).expected(rounded, to.size());
  // Large units in parts: what is read ahead has a bound that does not depend on them.
  const uint64_t unit =
      std::clamp<uint64_t>(options.unit / block * block, block, std::max(block, piece_size));
  const uint64_t piece = std::max(unit, piece_size / unit * unit);
  options.progress.begin_phase("copying", size);

  CopyReport report;
  OrderedQueue<Piece> queue(pool, {.items = pieces_read_ahead, .weight = pieces_read_ahead * piece},
                            {.cancel = options.cancel});
  const auto write_next = [&]() -> Result<bool> {
    const auto next = TRY(queue.next());
    if (!next) return false;
    report.written += TRY(write_piece(to, *next, unit));
    options.progress.add(next->bytes.size(), 0);
    return true;
  };
  // Pieces begin and end where units do.
  uint64_t known = 0;
  std::optional<Error> failed;
  const auto submit = [&](uint64_t begin, uint64_t end) -> Result<void> {
    while (begin < end) {
      const uint64_t length = std::min(end - begin, piece - begin % piece);
      while (!queue.has_room(length)) TRY(write_next());
      TRY(queue.submit(length, [&from, begin, length, size]() -> Result<Piece> {
        Piece read{begin, std::vector<std::byte>(length)};
        TRY(from.read(begin, MutableBytes(read.bytes).first(std::min(length, size - begin))));
        return read;
      }));
      begin += length;
    }
    return {};
  };
  auto walked = from.extents(0, size, [&](uint64_t offset, uint64_t length, bool data) {
    const uint64_t begin = std::max(known, offset / unit * unit);
    const uint64_t end = std::min(rounded, (offset + length + unit - 1) / unit * unit);
    if (!data || begin >= end) {
      options.progress.add(data ? 0 : length, 0);
      return true;
    }
    known = end;
    if (auto submitted = submit(begin, end); !submitted) failed = std::move(submitted).error();
    return !failed;
  });
  if (failed) return *std::move(failed);
  TRY(std::move(walked));
  queue.finish();
  while (TRY(write_next())) {
  }
  TRY(to.flush());
  return report;
}

}  // namespace karst::block

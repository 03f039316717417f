#include "btrfs/tool/check/data_csums.h"

#include <algorithm>
#include <cstring>

#include "btrfs/tool/check/item_stream.h"
#include "core/per_thread.h"

namespace karst::btrfs::check {
namespace {

constexpr uint64_t piece_bytes = 64 << 20;     // of addresses: one task
constexpr uint64_t request_bytes = 256 << 10;  // one read
constexpr size_t requests_together = 8;

// What a thread needs to read and compare.
struct Reader {
  std::unique_ptr<block::Queue> queue = block::make_queue();
  std::vector<std::byte> data = std::vector<std::byte>(request_bytes * requests_together);
  std::vector<std::byte> sums;
};

constexpr LockClass pieces_lock{"check.pieces"};

// Sectors side by side, with their checksums.
struct Run {
  uint64_t start = 0, end = 0;
  std::vector<std::byte> sums;
};

class PieceCheck {
 public:
  PieceCheck(State& state, const RootRecord& tree, const ChunkEntry& chunk, Reader& reader)
      : state_(state), tree_(tree), chunk_(chunk), geometry_(state.geometry()), reader_(reader) {}

  Result<void> run(uint64_t from, uint64_t to) {
    uint64_t reach = uint64_t{geometry_.nodesize} / geometry_.checksum_size * geometry_.sectorsize;
    ItemStream items(state_.blocks(), tree_.block,
                     {id::extent_csum, ItemType::extent_csum, from - std::min(from, reach)},
                     {id::extent_csum, ItemType::extent_csum, to});
    while (items.next()) {
      if (items.key().type == ItemType::extent_csum) TRY(add(items.key().offset, items.data(), from, to));
    }
    return compare();
  }

 private:
  // Clips an item to the piece and joins it to the run; compares when enough is together.
  Result<void> add(uint64_t start, Bytes sums, uint64_t from, uint64_t to) {
    uint64_t sectors = sums.size() / geometry_.checksum_size;
    uint64_t end = std::min(start + sectors * geometry_.sectorsize, to);
    uint64_t at = std::max({start, from, run_.end});
    while (at < end) {
      if (at != run_.end || run_.end - run_.start >= reader_.data.size()) {
        TRY(compare());
        run_.start = run_.end = at;
      }
      uint64_t some = std::min(end - at, reader_.data.size() - (run_.end - run_.start));
      Bytes part = sums.subspan((at - start) / geometry_.sectorsize * geometry_.checksum_size,
                                some / geometry_.sectorsize * geometry_.checksum_size);
      run_.sums.insert(run_.sums.end(), part.begin(), part.end());
      at += some;
      run_.end = at;
    }
    return {};
  }

  Result<void> compare() {
    int copies = chunk_.is_parity() ? 1 : chunk_.copies();
    for (int copy = 0; copy < copies && run_.start < run_.end; ++copy) compare_copy(copy);
    state_.progress.add(run_.end - run_.start, 0);
    run_.sums.clear();
    run_.start = run_.end;
    return {};
  }

  void compare_copy(int copy) {
    std::vector<Volume::ReadRequest> requests;
    for (uint64_t at = run_.start; at < run_.end; at += request_bytes)
      requests.push_back(
          {Logical(at),
           MutableBytes(reader_.data).subspan(at - run_.start, std::min(request_bytes, run_.end - at)),
           copy,
           {}});
    state_.fs.volume().read_batch(*reader_.queue, requests);
    size_t size = geometry_.checksum_size;
    for (Volume::ReadRequest& request : requests) {
      if (!*request.outcome) {
        unreadable(request);
        continue;
      }
      Bytes data = request.destination;
      uint64_t first = (raw(request.address) - run_.start) / geometry_.sectorsize;
      reader_.sums.resize(data.size() / geometry_.sectorsize * size);
      compute_checksums(geometry_.checksum_type, data, geometry_.sectorsize, reader_.sums);
      const std::byte* wanted = run_.sums.data() + first * size;
      if (std::memcmp(reader_.sums.data(), wanted, reader_.sums.size()) == 0) continue;
      for (size_t i = 0; i * size < reader_.sums.size(); ++i)
        if (std::memcmp(reader_.sums.data() + i * size, wanted + i * size, size) != 0)
          mismatch(raw(request.address) + i * geometry_.sectorsize, copy, reader_.sums.data() + i * size,
                   wanted + i * size);
    }
  }

  void unreadable(const Volume::ReadRequest& request) {
    state_.report.add(finding::data_csum,
                      fmt::format("mirror {} bytenr {} cannot be read: {}", request.copy + 1,
                                  raw(request.address), request.outcome->error().message()),
                      {{"bytenr", raw(request.address)}, {"copy", static_cast<uint64_t>(request.copy)}});
  }

  void mismatch(uint64_t bytenr, int copy, const std::byte* found, const std::byte* wanted) {
    auto text = [&](const std::byte* bytes) {
      Checksum sum{};
      std::memcpy(sum.bytes.data(), bytes, geometry_.checksum_size);
      return sum.text(geometry_.checksum_type);
    };
    state_.report.add(finding::data_csum,
                      fmt::format("mirror {} bytenr {} csum {} expected csum {}", copy + 1, bytenr,
                                  text(found), text(wanted)),
                      {{"bytenr", bytenr}, {"copy", static_cast<uint64_t>(copy)}});
  }

  State& state_;
  const RootRecord& tree_;
  const ChunkEntry& chunk_;
  const Geometry& geometry_;
  Reader& reader_;
  Run run_;
};

}  // namespace

Result<void> check_data_csums(State& state) {
  const RootRecord* tree = state.root(id::csum_tree);
  if (!tree) return {};
  PerThread<Reader> readers([] { return std::make_unique<Reader>(); });
  // A task for each thread that takes pieces in order, so that each chunk is read from start to end.
  struct Piece {
    const ChunkEntry* chunk;
    uint64_t from, to;
  };
  Mutex mutex{pieces_lock};
  const auto& chunks = state.fs.volume().chunks().all();
  size_t chunk = 0;
  uint64_t offset = 0;
  auto take = [&]() -> std::optional<Piece> {
    MutexLock lock(mutex);
    while (chunk < chunks.size() &&
           (!(chunks[chunk].type & block_group::data) || offset >= chunks[chunk].length)) {
      ++chunk;
      offset = 0;
    }
    if (chunk == chunks.size()) return std::nullopt;
    const ChunkEntry& entry = chunks[chunk];
    uint64_t from = entry.logical + offset, to = from + std::min(piece_bytes, entry.length - offset);
    offset += to - from;
    return Piece{&entry, from, to};
  };
  TaskGroup group(state.pool);
  for (unsigned i = 0; i < state.pool.thread_count(); ++i)
    group.run([&]() -> Result<void> {
      Reader& reader = readers.get();
      while (auto piece = take())
        TRY(PieceCheck(state, *tree, *piece->chunk, reader).run(piece->from, piece->to));
      return {};
    });
  return group.wait();
}

}  // namespace karst::btrfs::check

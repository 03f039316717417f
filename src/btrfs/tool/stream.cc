#include "btrfs/tool/stream.h"

#include "core/ordered_queue.h"
#include "core/per_thread.h"

namespace karst::btrfs {
namespace {
constexpr uint64_t piece_size = 1 << 20;
constexpr size_t sector_slack = 64 << 10;
}  // namespace

Result<void> stream_file(const Image& image, const Located& file, const StreamOptions& options,
                         WorkerPool& pool, FunctionRef<Result<void>(Bytes)> sink) {
  const Attributes& attributes = file.attributes;
  if (attributes.is_directory()) return Error(karst::err::is_a_directory, "is a directory");
  if (!attributes.is_regular()) return Error(karst::err::invalid, "is not a regular file");
  const Tree tree = TRY(image.fs().tree(file.id.subvolume));
  PerThread<DataReader> readers([&] { return std::make_unique<DataReader>(image.fs(), image.data()); });
  struct Piece {
    std::unique_ptr<std::byte[]> bytes;
    size_t length = 0;
  };
  OrderedQueue<Piece> queue(pool, {.items = 256, .weight = options.memory}, {.cancel = options.cancel});
  auto read = [&](uint64_t offset, uint64_t length) -> Result<Piece> {
    Piece piece{std::make_unique_for_overwrite<std::byte[]>(length + sector_slack), 0};
    MutableBytes room(piece.bytes.get(), length + sector_slack);
    piece.length = TRY(readers.get().read(tree, attributes, offset, room.first(length)));
    return piece;
  };
  auto give = [&]() -> Result<bool> {
    auto next = queue.next();
    if (!next) return std::move(next).error();
    const std::optional<Piece>& piece = *next;
    if (!piece) return false;
    TRY(sink(Bytes(piece->bytes.get(), piece->length)));
    options.progress.add(piece->length, 0);
    return true;
  };
  const uint64_t end = options.length < attributes.size && options.offset < attributes.size - options.length
                           ? options.offset + options.length
                           : attributes.size;
  for (uint64_t at = options.offset; at < end;) {
    uint64_t some = std::min(piece_size - at % piece_size, end - at);
    while (!queue.has_room(some)) TRY(give());
    TRY(queue.submit(some, [&read, at, some] { return read(at, some); }));
    at += some;
  }
  queue.finish();
  while (TRY(give())) {
  }
  return {};
}

}  // namespace karst::btrfs

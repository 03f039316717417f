#include "cache/pieces.h"

#include <algorithm>
#include <cstring>

namespace karst::cache {
namespace {

uint64_t length_of(const FolioPiece& piece) {
  VERIFY(piece.offset <= piece.folio.size() && piece.length <= piece.folio.size() - piece.offset);
  return piece.length;
}
uint64_t length_of(const iovec& buffer) { return buffer.iov_len; }

// Walks both sides in steps that lie inside one piece of each: copy(source, at, destination, at, length).
template <typename Source, typename Destination, typename F>
uint64_t walk(std::span<const Source> source, std::span<const Destination> destination, F&& copy) {
  uint64_t total = 0;
  uint64_t source_at = 0;
  uint64_t destination_at = 0;
  while (!source.empty() && !destination.empty()) {
    const uint64_t source_left = length_of(source.front()) - source_at;
    const uint64_t destination_left = length_of(destination.front()) - destination_at;
    const uint64_t step = std::min(source_left, destination_left);
    if (step != 0) copy(source.front(), source_at, destination.front(), destination_at, step);
    total += step;
    source_at += step;
    destination_at += step;
    if (step == source_left) {
      source = source.subspan(1);
      source_at = 0;
    }
    if (step == destination_left) {
      destination = destination.subspan(1);
      destination_at = 0;
    }
  }
  return total;
}

std::byte* bytes_of_buffer(const iovec& buffer) { return static_cast<std::byte*>(buffer.iov_base); }

}  // namespace

uint64_t copy_to_buffers(std::span<const FolioPiece> source, std::span<const iovec> destination) {
  return walk(source, destination,
              [](const FolioPiece& from, uint64_t from_at, const iovec& to, uint64_t to_at, uint64_t length) {
                const Mapping mapping(from.folio);
                std::memcpy(bytes_of_buffer(to) + to_at, mapping.bytes().data() + from.offset + from_at,
                            length);
              });
}

uint64_t copy_from_buffers(std::span<const iovec> source, std::span<const FolioPiece> destination) {
  return walk(source, destination,
              [](const iovec& from, uint64_t from_at, const FolioPiece& to, uint64_t to_at, uint64_t length) {
                const MutableMapping mapping(to.folio);
                std::memcpy(mapping.bytes().data() + to.offset + to_at, bytes_of_buffer(from) + from_at,
                            length);
              });
}

uint64_t copy_between(std::span<const FolioPiece> source, std::span<const FolioPiece> destination) {
  return walk(
      source, destination,
      [](const FolioPiece& from, uint64_t from_at, const FolioPiece& to, uint64_t to_at, uint64_t length) {
        const Mapping reading(from.folio);
        const MutableMapping writing(to.folio);
        std::memcpy(writing.bytes().data() + to.offset + to_at,
                    reading.bytes().data() + from.offset + from_at, length);
      });
}

void copy_out(const FolioRef& source, uint32_t offset, MutableBytes destination) {
  const FolioPiece piece{source, offset, static_cast<uint32_t>(destination.size())};
  const iovec buffer{destination.data(), destination.size()};
  VERIFY(copy_to_buffers({&piece, 1}, {&buffer, 1}) == destination.size());
}

void copy_in(Bytes source, const FolioRef& destination, uint32_t offset) {
  const FolioPiece piece{destination, offset, static_cast<uint32_t>(source.size())};
  const iovec buffer{const_cast<std::byte*>(source.data()), source.size()};
  VERIFY(copy_from_buffers({&buffer, 1}, {&piece, 1}) == source.size());
}

}  // namespace karst::cache

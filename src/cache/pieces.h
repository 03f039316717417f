// Copying between folios and buffers, of any sizes on both sides. Each folio is mapped only while its piece
// is copied, in scope order (MP-016).
#pragma once
#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "cache/mapping.h"

namespace karst::cache {

// The bytes [offset, offset + length) of a folio.
struct FolioPiece {
  FolioRef folio;
  uint32_t offset = 0;
  uint32_t length = 0;
};

// Each copies until one side is at its end and returns the bytes copied. A piece must lie inside its folio.
// Source and destination must not overlap.
uint64_t copy_to_buffers(std::span<const FolioPiece> source, std::span<const iovec> destination);
uint64_t copy_from_buffers(std::span<const iovec> source, std::span<const FolioPiece> destination);
uint64_t copy_between(std::span<const FolioPiece> source, std::span<const FolioPiece> destination);

// The same for one folio and one buffer, which must fit.
void copy_out(const FolioRef& source, uint32_t offset, MutableBytes destination);
void copy_in(Bytes source, const FolioRef& destination, uint32_t offset);

}  // namespace karst::cache

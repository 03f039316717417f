#include "thin/format/space_map.h"

#include <algorithm>
#include <bit>

namespace karst::thin {
namespace {

// Bit 2k of a word is the higher of entry k, bit 2k + 1 the lower.
constexpr uint64_t even_bits = 0x5555555555555555ull;

// An even bit for each entry that is not 0.
constexpr uint64_t used(uint64_t word) { return (word | word >> 1) & even_bits; }

// The first set even bit's entry at or after `from` (0 to 31), or 32.
constexpr uint32_t first_from(uint64_t marks, uint32_t from) {
  const uint64_t rest = marks & ~uint64_t{0} << (from * 2);
  return rest == 0 ? 32 : static_cast<uint32_t>(std::countr_zero(rest)) / 2;
}

}  // namespace

uint32_t BitmapView::get(uint32_t entry) const {
  const auto pair = static_cast<uint32_t>(word(entry) >> (entry % 32 * 2)) & 3;
  return (pair & 1) << 1 | pair >> 1;
}

uint32_t BitmapView::find_free(uint32_t begin, uint32_t end) const {
  for (uint32_t entry = begin; entry < end; entry = entry / 32 * 32 + 32)
    if (const uint32_t found = first_from(~used(word(entry)) & even_bits, entry % 32); found < 32)
      return std::min(entry / 32 * 32 + found, end);
  return end;
}

uint32_t BitmapView::find_used(uint32_t begin, uint32_t end) const {
  for (uint32_t entry = begin; entry < end; entry = entry / 32 * 32 + 32)
    if (const uint32_t found = first_from(used(word(entry)), entry % 32); found < 32)
      return std::min(entry / 32 * 32 + found, end);
  return end;
}

uint32_t BitmapView::count_free(uint32_t entries) const {
  uint32_t taken = 0;
  for (uint32_t entry = 0; entry < entries; entry += 32) {
    uint64_t marks = used(word(entry));
    if (entries - entry < 32) marks &= (uint64_t{1} << ((entries - entry) * 2)) - 1;
    taken += static_cast<uint32_t>(std::popcount(marks));
  }
  return entries - taken;
}

void MutableBitmapView::set(uint32_t entry, uint32_t bits) {
  le64& word = *reinterpret_cast<le64*>(words_.data() + entry / 32 * 8);
  const uint64_t pair = (bits & 1) << 1 | bits >> 1;
  const uint32_t shift = entry % 32 * 2;
  word = (word & ~(uint64_t{3} << shift)) | pair << shift;
}

}  // namespace karst::thin

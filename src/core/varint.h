// Unsigned integers in as few bytes as they need, seven bits each, low ones first, for records that never
// leave this process.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace karst {

constexpr size_t max_varint_size = 10;

inline void append_varint(std::vector<std::byte>& out, uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<std::byte>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<std::byte>(value));
}

// Reads what append_varint() wrote, and steps over it.
inline uint64_t take_varint(const std::byte*& from) {
  uint64_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    auto byte = static_cast<uint8_t>(*from++);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
}

}  // namespace karst

// Integers whose byte order is part of their type, with alignment 1, so that an on-disk or wire struct is
// its own layout: no packed attribute, no casts of buffers, sizes proven by static_assert.
#pragma once
#include <fmt/format.h>

#include <array>
#include <bit>
#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace karst {

template <std::integral T, std::endian Order>
class Endian {
 public:
  using value_type = T;
  Endian() = default;
  constexpr Endian(T value) { store(value); }
  constexpr Endian& operator=(T value) {
    store(value);
    return *this;
  }
  constexpr operator T() const { return load(); }
  constexpr T value() const { return load(); }
  Endian& operator+=(T value) { return *this = static_cast<T>(load() + value); }
  Endian& operator-=(T value) { return *this = static_cast<T>(load() - value); }
  Endian& operator|=(T value) { return *this = static_cast<T>(load() | value); }
  Endian& operator&=(T value) { return *this = static_cast<T>(load() & value); }

 private:
  constexpr T load() const {
    T value = std::bit_cast<T>(bytes_);
    if constexpr (Order != std::endian::native && sizeof(T) > 1) value = swap(value);
    return value;
  }
  constexpr void store(T value) {
    if constexpr (Order != std::endian::native && sizeof(T) > 1) value = swap(value);
    bytes_ = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
  }
  static constexpr T swap(T value) {
    if constexpr (sizeof(T) == 2)
      return static_cast<T>(__builtin_bswap16(static_cast<uint16_t>(value)));
    else if constexpr (sizeof(T) == 4)
      return static_cast<T>(__builtin_bswap32(static_cast<uint32_t>(value)));
    else
      return static_cast<T>(__builtin_bswap64(static_cast<uint64_t>(value)));
  }
  std::array<std::byte, sizeof(T)> bytes_;
};

using le16 = Endian<uint16_t, std::endian::little>;
using le32 = Endian<uint32_t, std::endian::little>;
using le64 = Endian<uint64_t, std::endian::little>;
using sle64 = Endian<int64_t, std::endian::little>;
using be16 = Endian<uint16_t, std::endian::big>;
using be32 = Endian<uint32_t, std::endian::big>;
using be64 = Endian<uint64_t, std::endian::big>;

static_assert(sizeof(le64) == 8 && alignof(le64) == 1 && std::is_trivial_v<le64>);

}  // namespace karst

template <std::integral T, std::endian Order>
struct fmt::formatter<karst::Endian<T, Order>> : fmt::formatter<T> {
  auto format(karst::Endian<T, Order> value, auto& context) const {
    return fmt::formatter<T>::format(value.value(), context);
  }
};

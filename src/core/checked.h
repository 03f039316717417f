// Arithmetic on numbers that came from outside: nothing if the result does not fit (CO-007).
//
//   auto size = checked_add(sizeof(Header), checked_mul(count, sizeof(Record)));
//   if (!size || *size > limit) return Error(…);
#pragma once
#include <concepts>
#include <optional>
#include <utility>

namespace karst {

template <std::integral T>
constexpr std::optional<T> checked_add(std::optional<T> a, std::optional<T> b) {
  T result{};
  if (!a || !b || __builtin_add_overflow(*a, *b, &result)) return std::nullopt;
  return result;
}
template <std::integral T>
constexpr std::optional<T> checked_sub(std::optional<T> a, std::optional<T> b) {
  T result{};
  if (!a || !b || __builtin_sub_overflow(*a, *b, &result)) return std::nullopt;
  return result;
}
template <std::integral T>
constexpr std::optional<T> checked_mul(std::optional<T> a, std::optional<T> b) {
  T result{};
  if (!a || !b || __builtin_mul_overflow(*a, *b, &result)) return std::nullopt;
  return result;
}

// With plain numbers on either side; both of one type, so that no conversion hides.
#define KARST_CHECKED(name)                                  \
  template <std::integral T>                                 \
  constexpr std::optional<T> name(T a, T b) {                \
    return name(std::optional<T>(a), std::optional<T>(b));   \
  }                                                          \
  template <std::integral T>                                 \
  constexpr std::optional<T> name(T a, std::optional<T> b) { \
    return name(std::optional<T>(a), b);                     \
  }                                                          \
  template <std::integral T>                                 \
  constexpr std::optional<T> name(std::optional<T> a, T b) { \
    return name(a, std::optional<T>(b));                     \
  }
KARST_CHECKED(checked_add)
KARST_CHECKED(checked_sub)
KARST_CHECKED(checked_mul)
#undef KARST_CHECKED

// The same number in another type.
template <std::integral To, std::integral From>
constexpr std::optional<To> checked_cast(From value) {
  if (!std::in_range<To>(value)) return std::nullopt;
  return static_cast<To>(value);
}

// The next multiple of a power of two.
template <std::unsigned_integral T>
constexpr std::optional<T> checked_round_up(T value, T power_of_two) {
  auto sum = checked_add(value, static_cast<T>(power_of_two - 1));
  if (!sum) return std::nullopt;
  return static_cast<T>(*sum & static_cast<T>(~(power_of_two - 1)));
}

}  // namespace karst

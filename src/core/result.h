// Result<T>: a value or an Error, carried up with TRY. The member names are std::expected's.
// (GCC 12's std::expected is not [[nodiscard]] and lacks and_then; Clang 14 does not see it at all.)
#pragma once
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "core/error.h"

namespace karst {

template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  // Version 14 does not know requires-clauses.
  // clang-format off
  template <typename U = T>
    requires std::is_constructible_v<T, U&&> &&
             (!std::is_same_v<std::remove_cvref_t<U>, Result>) && (!std::is_same_v<std::remove_cvref_t<U>, Error>)
  Result(U&& value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}
  // clang-format on
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  Error& error() & { return std::get<1>(state_); }
  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }
  T value_or(T other) && { return has_value() ? std::get<0>(std::move(state_)) : std::move(other); }

  // Names the operation in the error, if there is one; the callable is run only then. By value: TRY would
  // keep a reference to the temporary otherwise.
  template <typename F>
  Result context(F&& operation) && {
    if (!has_value()) std::get<1>(state_) = std::move(std::get<1>(state_)).while_doing(operation());
    return std::move(*this);
  }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error) : error_(std::in_place, std::move(error)) {}

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  void value() const {}
  Error& error() & { return *error_; }
  const Error& error() const& { return *error_; }
  Error&& error() && { return *std::move(error_); }

  template <typename F>
  Result context(F&& operation) && {
    if (error_) error_ = std::move(*error_).while_doing(operation());
    return std::move(*this);
  }

 private:
  std::optional<Error> error_;
};

}  // namespace karst

// The value of a Result, or return from the function with its error. Not for use in constructors.
#define TRY(...) KARST_TRY_AS(KARST_TRY_JOIN(karst_try_, __COUNTER__), __VA_ARGS__)
#define KARST_TRY_JOIN(a, b) KARST_TRY_JOIN_(a, b)
#define KARST_TRY_JOIN_(a, b) a##b
#define KARST_TRY_AS(result, ...)       \
  __extension__({                       \
    auto&& result = (__VA_ARGS__);      \
    if (!result) [[unlikely]]           \
      return std::move(result).error(); \
    std::move(result).value();          \
  })

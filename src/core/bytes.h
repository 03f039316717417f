// Bytes that came from outside: spans of them and structs read out of them, with every step checked.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>

namespace karst {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

// A struct whose bytes may be overlaid on a buffer: trivially copyable and of alignment 1.
template <typename T>
concept Overlay = std::is_trivially_copyable_v<T> && alignof(T) == 1;

// The part [offset, offset + length) of bytes, or nothing if it is not all inside.
inline std::optional<Bytes> slice(Bytes bytes, uint64_t offset, uint64_t length) {
  if (offset > bytes.size() || length > bytes.size() - offset) return std::nullopt;
  return bytes.subspan(offset, length);
}

// The struct at offset, or nullptr if it does not fit. Borrowed from bytes.
template <Overlay T>
const T* overlay(Bytes bytes, uint64_t offset = 0) {
  if (offset > bytes.size() || sizeof(T) > bytes.size() - offset) return nullptr;
  return reinterpret_cast<const T*>(bytes.data() + offset);
}

inline bool all_zero(Bytes bytes) {
  // Every byte is the one before it, and the first is 0.
  return bytes.empty() ||
         (bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

template <Overlay T>
Bytes bytes_of(const T& value) {
  return {reinterpret_cast<const std::byte*>(&value), sizeof(T)};
}

}  // namespace karst

// 16-byte identifiers, printed in the usual 8-4-4-4-12 form.
#pragma once
#include <fmt/format.h>

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace karst {

struct Uuid {
  std::array<uint8_t, 16> bytes;

  auto operator<=>(const Uuid&) const = default;
  bool is_null() const { return bytes == std::array<uint8_t, 16>{}; }
  std::string text() const;
  // Accepts the 36-character form in either case; nothing else.
  static std::optional<Uuid> parse(std::string_view text);
  // Of these bytes but those that say that it is one of version 4, by RFC 4122.
  static Uuid version_4(std::span<const std::byte, 16> bytes);
  // Version 4, of random bytes.
  static Uuid random();
};
static_assert(sizeof(Uuid) == 16 && alignof(Uuid) == 1);

}  // namespace karst

template <>
struct fmt::formatter<karst::Uuid> : fmt::formatter<std::string> {
  auto format(const karst::Uuid& uuid, auto& context) const {
    return fmt::formatter<std::string>::format(uuid.text(), context);
  }
};

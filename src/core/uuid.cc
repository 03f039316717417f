#include "core/uuid.h"

#include <sys/random.h>

#include <algorithm>

#include "core/assert.h"

namespace karst {
namespace {
constexpr bool dash_before(size_t byte) { return byte == 4 || byte == 6 || byte == 8 || byte == 10; }

std::optional<uint8_t> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<uint8_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<uint8_t>(c - 'a' + 10);
  if (c >= 'A' && c <= 'F') return static_cast<uint8_t>(c - 'A' + 10);
  return std::nullopt;
}
}  // namespace

std::string Uuid::text() const {
  std::string out;
  out.reserve(36);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (dash_before(i)) out += '-';
    fmt::format_to(std::back_inserter(out), "{:02x}", bytes[i]);
  }
  return out;
}

Uuid Uuid::version_4(std::span<const std::byte, 16> bytes) {
  Uuid uuid;
  std::ranges::transform(bytes, uuid.bytes.begin(),
                         [](std::byte byte) { return std::to_integer<uint8_t>(byte); });
  uuid.bytes[6] = static_cast<uint8_t>((uuid.bytes[6] & 0x0f) | 0x40);
  uuid.bytes[8] = static_cast<uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
  return uuid;
}

Uuid Uuid::random() {
  std::array<std::byte, 16> bytes;
  // So few bytes come whole, and cannot fail once the system has booted (getrandom(2)).
  VERIFY(::getrandom(bytes.data(), bytes.size(), 0) == ssize_t(bytes.size()));
  return version_4(bytes);
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
  if (text.size() != 36) return std::nullopt;
  Uuid uuid{};
  size_t at = 0;
  for (size_t i = 0; i < uuid.bytes.size(); ++i) {
    if (dash_before(i) && text[at++] != '-') return std::nullopt;
    auto high = hex_digit(text[at]);
    auto low = hex_digit(text[at + 1]);
    if (!high || !low) return std::nullopt;
    uuid.bytes[i] = static_cast<uint8_t>(*high << 4 | *low);
    at += 2;
  }
  return uuid;
}

}  // namespace karst

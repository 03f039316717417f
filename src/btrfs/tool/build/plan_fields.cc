#include "btrfs/tool/build/plan_fields.h"

#include <charconv>
#include <chrono>

#include "btrfs/tool/build/errors.h"

namespace karst::btrfs::build {
namespace {
using Json = nlohmann::json;

template <typename T>
bool parse_number(std::string_view text, T& value, int base = 10) {
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  return failed == std::errc() && end == text.data() + text.size() && !text.empty();
}

// Digits after a point, as nanoseconds.
std::optional<uint32_t> parse_fraction(std::string_view digits) {
  uint32_t value;
  if (digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != digits.npos ||
      !parse_number(digits, value))
    return std::nullopt;
  for (size_t n = digits.size(); n < 9; ++n) value *= 10;
  return value;
}

std::optional<Time> parse_epoch(std::string_view text) {
  const size_t point = text.find('.');
  Time time;
  if (!parse_number(text.substr(0, point), time.seconds)) return std::nullopt;
  if (point == text.npos) return time;
  const auto fraction = parse_fraction(text.substr(point + 1));
  if (!fraction) return std::nullopt;
  time.nanoseconds = *fraction;
  if (text[0] == '-' && *fraction > 0) {  // -1.25 is three quarters after -2
    --time.seconds;
    time.nanoseconds = 1'000'000'000 - *fraction;
  }
  return time;
}

// Two digits at a place, in a range; nothing otherwise.
std::optional<int> two_digits(std::string_view text, size_t at, int least, int most) {
  int value;
  if (at + 2 > text.size() || !parse_number(text.substr(at, 2), value) || value < least || value > most)
    return std::nullopt;
  return value;
}

// "Z" or "+01:00", in seconds east.
std::optional<int64_t> parse_zone(std::string_view text) {
  if (text == "Z" || text == "z") return 0;
  if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') return std::nullopt;
  const auto hours = two_digits(text, 1, 0, 23), minutes = two_digits(text, 4, 0, 59);
  if (!hours || !minutes) return std::nullopt;
  return (text[0] == '-' ? -1 : 1) * (*hours * 3600 + *minutes * 60);
}

std::optional<Time> parse_rfc3339(std::string_view text) {
  constexpr size_t fixed = sizeof("2024-02-29T12:00:00") - 1;
  if (text.size() <= fixed || text[4] != '-' || text[7] != '-' ||
      (text[10] != 'T' && text[10] != 't' && text[10] != ' ') || text[13] != ':' || text[16] != ':')
    return std::nullopt;
  int year;
  const auto month = two_digits(text, 5, 1, 12), day = two_digits(text, 8, 1, 31);
  const auto hour = two_digits(text, 11, 0, 23), minute = two_digits(text, 14, 0, 59);
  const auto second = two_digits(text, 17, 0, 60);
  if (!parse_number(text.substr(0, 4), year) || !month || !day || !hour || !minute || !second)
    return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok()) return std::nullopt;
  text.remove_prefix(fixed);
  Time time;
  if (text[0] == '.') {
    const size_t end = std::min(text.find_first_not_of("0123456789", 1), text.size());
    const auto fraction = parse_fraction(text.substr(1, end - 1));
    if (!fraction) return std::nullopt;
    time.nanoseconds = *fraction;
    text.remove_prefix(end);
  }
  const auto zone = parse_zone(text);
  if (!zone) return std::nullopt;
  const int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  time.seconds = days * 86400 + *hour * 3600 + *minute * 60 + *second - *zone;
  return time;
}

int base64_digit(char letter) {
  if (letter >= 'A' && letter <= 'Z') return letter - 'A';
  if (letter >= 'a' && letter <= 'z') return letter - 'a' + 26;
  if (letter >= '0' && letter <= '9') return letter - '0' + 52;
  if (letter == '+') return 62;
  if (letter == '/') return 63;
  return -1;
}
}  // namespace

std::optional<Time> parse_time(std::string_view text) {
  const auto epoch = parse_epoch(text);
  return epoch ? epoch : parse_rfc3339(text);
}

std::optional<std::string> decode_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    uint8_t byte;
    if (!parse_number(text.substr(i, 2), byte, 16)) return std::nullopt;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

std::optional<std::string> decode_base64(std::string_view text) {
  size_t padding = 0;
  while (text.ends_with('=') && ++padding <= 2) text.remove_suffix(1);
  if (text.size() % 4 == 1 || padding > 2 || (padding > 0 && (text.size() + padding) % 4 != 0))
    return std::nullopt;
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (char letter : text) {
    const int digit = base64_digit(letter);
    if (digit < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(digit);
    count += 6;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>(bits >> count);
    bits &= (1u << count) - 1;
  }
  return bits == 0 ? std::optional(bytes) : std::nullopt;
}

std::optional<std::string> bytes_of_json(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_object() || value.size() != 1 || !value.begin()->is_string()) return std::nullopt;
  const std::string text = value.begin()->get<std::string>();
  if (value.begin().key() == "text") return text;
  if (value.begin().key() == "hex") return decode_hex(text);
  if (value.begin().key() == "base64") return decode_base64(text);
  return std::nullopt;
}

Error PlanFields::refuse(const char* key, std::string_view why) const {
  return Error::make(err::source_plan, "{}: \"{}\": {}", where_, key, why);
}

const Json* PlanFields::take(const char* key) {
  taken_.insert(key);
  auto found = object_.find(key);
  return found == object_.end() ? nullptr : &*found;
}

Result<std::optional<std::string>> PlanFields::text(const char* key) {
  const Json* value = take(key);
  if (!value) return std::optional<std::string>();
  if (!value->is_string()) return refuse(key, "must be a string");
  return std::optional(value->get<std::string>());
}

Result<bool> PlanFields::flag(const char* key, bool otherwise) {
  const Json* value = take(key);
  if (!value) return otherwise;
  if (!value->is_boolean()) return refuse(key, "must be true or false");
  return value->get<bool>();
}

Result<std::optional<uint32_t>> PlanFields::mode(const char* key) {
  const auto digits = TRY(text(key));
  if (!digits) return std::optional<uint32_t>();
  uint32_t value;
  if (!parse_number(*digits, value, 8) || value > 07777)
    return refuse(key, "must be octal digits, at most 7777");
  return std::optional(value);
}

Result<std::optional<Time>> PlanFields::time(const char* key) {
  const Json* value = take(key);
  if (!value) return std::optional<Time>();
  if (value->is_number_integer()) return std::optional(Time{value->get<int64_t>(), 0});
  const auto time = value->is_string() ? parse_time(value->get<std::string>()) : std::nullopt;
  if (!time) return refuse(key, "must be seconds since 1970 or a date and time as RFC 3339 writes them");
  return time;
}

Result<std::optional<std::string>> PlanFields::bytes(const char* key) {
  const Json* value = take(key);
  if (!value) return std::optional<std::string>();
  auto bytes = bytes_of_json(*value);
  if (!bytes)
    return refuse(key, "must be a string, or an object with one of \"text\", \"hex\" and \"base64\"");
  return bytes;
}

Result<void> PlanFields::end() const {
  for (const auto& [key, value] : object_.items())
    if (!taken_.contains(key)) return refuse(key.c_str(), "no such key here");
  return {};
}

}  // namespace karst::btrfs::build

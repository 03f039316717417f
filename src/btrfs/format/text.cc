#include "btrfs/format/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace karst::btrfs {
namespace {

// The length of the UTF-8 sequence at the start of `text`, or 0 if there is no valid one.
size_t utf8_length(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  uint8_t first = byte(0);
  if (first < 0x80) return 1;
  size_t length = 0;
  if (first >= 0xc2 && first <= 0xdf)
    length = 2;
  else if ((first & 0xf0) == 0xe0)
    length = 3;
  else if (first >= 0xf0 && first <= 0xf4)
    length = 4;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // Overlong forms, surrogates, and what is past the last code point.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) ||
      (first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) > 0x8f))
    return 0;
  return length;
}

}  // namespace

void append_escaped(std::string& out, std::string_view bytes) {
  for (char c : bytes) {
    switch (c) {
      case '\a': out += "\\a"; break;
      case '\b': out += "\\b"; break;
      case '\033': out += "\\e"; break;
      case '\f': out += "\\f"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\v': out += "\\v"; break;
      case ' ': out += "\\ "; break;
      case '\\': out += "\\\\"; break;
      default:
        if (c > ' ' && c < '\177')
          out += c;
        else
          fmt::format_to(std::back_inserter(out), "\\{:03o}", static_cast<uint8_t>(c));
    }
  }
}

bool is_plain_text(std::string_view bytes) {
  while (!bytes.empty()) {
    size_t length = utf8_length(bytes);
    if (length == 0 || (length == 1 && (bytes[0] < ' ' || bytes[0] == '\177'))) return false;
    bytes.remove_prefix(length);
  }
  return true;
}

bool append_utf8(std::string& out, std::string_view bytes) {
  bool all_valid = true;
  while (!bytes.empty()) {
    size_t length = utf8_length(bytes);
    all_valid &= length != 0;
    out += length ? bytes.substr(0, length) : "\uFFFD";
    bytes.remove_prefix(std::max<size_t>(length, 1));
  }
  return all_valid;
}

}  // namespace karst::btrfs

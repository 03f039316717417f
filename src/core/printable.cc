#include "core/printable.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace karst {
namespace {

// The length of the well-formed UTF-8 sequence at the start, beyond ASCII and not a control character; or 0.
size_t utf8_length(std::string_view text) {
  auto at = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto follows = [&](size_t i) { return (at(i) & 0xc0) == 0x80; };
  unsigned first = at(0);
  if (first >= 0xc2 && first <= 0xdf && follows(1)) return first == 0xc2 && at(1) < 0xa0 ? 0 : 2;
  if (first >= 0xe0 && first <= 0xef && follows(1) && follows(2)) {
    bool overlong = first == 0xe0 && at(1) < 0xa0;
    bool surrogate = first == 0xed && at(1) >= 0xa0;
    return overlong || surrogate ? 0 : 3;
  }
  if (first >= 0xf0 && first <= 0xf4 && follows(1) && follows(2) && follows(3)) {
    bool overlong = first == 0xf0 && at(1) < 0x90;
    bool too_high = first == 0xf4 && at(1) >= 0x90;
    return overlong || too_high ? 0 : 4;
  }
  return 0;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    auto byte = static_cast<unsigned char>(text.front());
    size_t length = byte >= 0x20 && byte < 0x7f ? 1 : utf8_length(text);
    if (length == 0)
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    else
      out += text.substr(0, length);
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return out;
}

}  // namespace karst

#include "btrfs/format/facts.h"

#include <nlohmann/json.hpp>

#include "btrfs/format/inode.h"

namespace karst::btrfs {
namespace {

// The length of the UTF-8 sequence at the start of `text`, or 0 if there is no valid one.
size_t utf8_length(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  uint8_t first = byte(0);
  if (first < 0x80) return 1;
  size_t length = first >= 0xc2 && first <= 0xdf ? 2 : (first & 0xf0) == 0xe0 ? 3 : first >= 0xf0 && first <= 0xf4 ? 4 : 0;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i)
    if ((byte(i) & 0xc0) != 0x80) return 0;
  // Overlong forms, surrogates, and what is past the last code point.
  if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) > 0x9f) || (first == 0xf0 && byte(1) < 0x90) ||
      (first == 0xf4 && byte(1) > 0x8f))
    return 0;
  return length;
}

// The bytes as UTF-8, each invalid one replaced; whether there were any.
bool make_utf8(std::string_view bytes, std::string& out) {
  bool all_valid = true;
  while (!bytes.empty()) {
    size_t length = utf8_length(bytes);
    all_valid &= length != 0;
    out += length ? bytes.substr(0, length) : "\uFFFD";
    bytes.remove_prefix(std::max<size_t>(length, 1));
  }
  return all_valid;
}

std::string hex(std::string_view bytes) {
  std::string out;
  for (char c : bytes) fmt::format_to(std::back_inserter(out), "{:02x}", static_cast<uint8_t>(c));
  return out;
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
        if (c > ' ' && c < '\177') out += c;
        else fmt::format_to(std::back_inserter(out), "\\{:03o}", static_cast<uint8_t>(c));
    }
  }
}

Facts Facts::object(const char* name) {
  if (is_text()) return *this;
  auto& child = (*object_)[name] = nlohmann::ordered_json::object();
  return {child, options_};
}

Facts Facts::element(const char* array) {
  if (is_text()) return *this;
  auto& all = (*object_)[array];
  all.push_back(nlohmann::ordered_json::object());
  return {all.back(), options_};
}

void Facts::array(const char* name) {
  if (!is_text()) (*object_)[name] = nlohmann::ordered_json::array();
}

void Facts::key(const char* name, const Key& key) {
  if (is_text()) return append_key_text(*text_, key);
  (*object_)[name] = {{"objectid", key.objectid},
                      {"type", static_cast<uint8_t>(key.type)},
                      {"offset", key.offset},
                      {"type_name", item_type_name(key.type)},
                      {"text", key_text(key)}};
}

void Facts::bytes(const char* name, std::string_view prefix, std::string_view hidden, std::string_view value) {
  if (is_text()) {
    *text_ += options_.hide_names ? hidden : prefix;
    if (!options_.hide_names) append_escaped(*text_, value.substr(0, max_name_length));
    *text_ += '\n';
  } else if (options_.hide_names) {
    (*object_)[name] = nullptr;
  } else {
    std::string text;
    bool is_utf8 = make_utf8(value, text);
    (*object_)[name] = std::move(text);
    if (!is_utf8) (*object_)[fmt::format("{}_hex", name)] = hex(value);
  }
}

void Facts::invalid(std::string_view what) {
  print("\t\tinvalid: {}\n", what);
  also(fact("invalid", what));
}

void Facts::set_bool(const char* name, bool value) { (*object_)[name] = value; }
void Facts::set_signed(const char* name, int64_t value) { (*object_)[name] = value; }
void Facts::set_unsigned(const char* name, uint64_t value) { (*object_)[name] = value; }
void Facts::set(const char* name, std::string_view value) { (*object_)[name] = value; }
void Facts::set(const char* name, const Uuid& value) {
  if (value.is_null()) (*object_)[name] = nullptr;
  else (*object_)[name] = value.text();
}
void Facts::set(const char* name, const std::vector<std::string>& values) { (*object_)[name] = values; }

}  // namespace karst::btrfs

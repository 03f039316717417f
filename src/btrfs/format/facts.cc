#include "btrfs/format/facts.h"

#include <nlohmann/json.hpp>

#include "btrfs/format/inode.h"
#include "btrfs/format/text.h"

namespace karst::btrfs {
namespace {

std::string hex(std::string_view bytes) {
  std::string out;
  for (char c : bytes) fmt::format_to(std::back_inserter(out), "{:02x}", static_cast<uint8_t>(c));
  return out;
}

}  // namespace

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

void Facts::bytes(const char* name, std::string_view prefix, std::string_view hidden,
                  std::string_view value) {
  if (is_text()) {
    *text_ += options_.hide_names ? hidden : prefix;
    if (!options_.hide_names) append_escaped(*text_, value.substr(0, max_name_length));
    *text_ += '\n';
  } else if (options_.hide_names) {
    (*object_)[name] = nullptr;
  } else {
    std::string text;
    bool is_utf8 = append_utf8(text, value);
    (*object_)[name] = std::move(text);
    if (!is_utf8) (*object_)[fmt::format("{}_hex", name)] = hex(value);
  }
}

void Facts::plain_bytes(const char* name, std::string_view prefix, std::string_view value) {
  if (!is_text() || options_.hide_names || !is_plain_text(value))
    return bytes(name, prefix, fmt::format("{}HIDDEN", prefix), value);
  *text_ += prefix;
  *text_ += value;
  *text_ += '\n';
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
  if (value.is_null())
    (*object_)[name] = nullptr;
  else
    (*object_)[name] = value.text();
}
void Facts::set(const char* name, const std::vector<std::string>& values) { (*object_)[name] = values; }

}  // namespace karst::btrfs

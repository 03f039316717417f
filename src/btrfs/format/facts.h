// Where printers put what they find: one statement of a printer is a line of dump-tree's text, and the same
// facts under their names in a JSON object.
//
//   facts.print("\t\tdir log end {}\n", fact("end", item.end));
//
// As text, the format and the values; as JSON, {"end": 7}. Arguments that are not facts appear in the text
// only, also() puts facts into the JSON only. A Facts writes one or the other; it is a cheap handle, and the
// sink, node and options it was made for outlive it.
#pragma once
#include <fmt/format.h>

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "btrfs/format/key.h"
#include "btrfs/format/print.h"
#include "core/uuid.h"

namespace karst::btrfs {

template <typename T>
struct Fact {
  const char* name;
  T value;
};

template <typename T>
Fact<T> fact(const char* name, T value) {
  return {name, std::move(value)};
}
template <std::integral T, std::endian Order>
Fact<T> fact(const char* name, Endian<T, Order> value) {
  return {name, value.value()};
}

class Facts {
 public:
  Facts(std::string& text, const PrintOptions& options) : text_(&text), options_(options) {}
  Facts(nlohmann::ordered_json& object, const PrintOptions& options) : object_(&object), options_(options) {}

  bool is_text() const { return text_ != nullptr; }
  const PrintOptions& options() const { return options_; }

  template <typename... Args>
  void print(fmt::format_string<const Args&...> format, const Args&... args) {
    if (is_text())
      fmt::format_to(std::back_inserter(*text_), format, args...);
    else
      (record(args), ...);
  }
  template <typename... T>
  void also(const Fact<T>&... facts) {
    if (!is_text()) (record(facts), ...);
  }

  // An object within this one, or the next of an array; as text, this one.
  Facts object(const char* name);
  Facts element(const char* array);
  // An array that has its place even if no element follows.
  void array(const char* name);

  // "(256 INODE_ITEM 0)" in the text.
  void key(const char* name, const Key& key);
  // A name or other bytes, escaped, or hidden in both; `prefix` and "\n" around it in the text. The text has
  // at most the 255 bytes that a name may have.
  void bytes(const char* name, std::string_view prefix, std::string_view hidden, std::string_view value);
  // The same, but as it is where it is plain text, for where dump-tree does not escape.
  void plain_bytes(const char* name, std::string_view prefix, std::string_view value);
  // Instead of contents that are not all there.
  void invalid(std::string_view what);

 private:
  template <typename T>
  void record(const T&) {}
  template <typename T>
  void record(const Fact<T>& fact) {
    if constexpr (std::is_same_v<T, bool>)
      set_bool(fact.name, fact.value);
    else if constexpr (std::is_signed_v<T>)
      set_signed(fact.name, fact.value);
    else if constexpr (std::is_unsigned_v<T>)
      set_unsigned(fact.name, fact.value);
    else
      set(fact.name, fact.value);
  }
  void set_bool(const char* name, bool value);
  void set_signed(const char* name, int64_t value);
  void set_unsigned(const char* name, uint64_t value);
  void set(const char* name, std::string_view value);
  void set(const char* name, const Uuid& value);  // null if it is all zero
  void set(const char* name, const std::vector<std::string>& values);

  std::string* text_ = nullptr;
  nlohmann::ordered_json* object_ = nullptr;
  const PrintOptions& options_;
};

}  // namespace karst::btrfs

template <typename T>
struct fmt::formatter<karst::btrfs::Fact<T>> : fmt::formatter<T> {
  auto format(const karst::btrfs::Fact<T>& fact, auto& context) const {
    return fmt::formatter<T>::format(fact.value, context);
  }
};

// Reading a plan's JSON strictly: each key at most once, each taken by somebody, each value of the kind it
// must be. Errors are err::source_plan with where the object is and the key.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>

#include "btrfs/tool/build/node.h"
#include "core/result.h"

namespace karst::btrfs::build {

class PlanFields {
 public:
  // `where` is for messages. The object outlives this.
  PlanFields(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}

  // nullptr if there is no such key.
  const nlohmann::json* take(const char* key);
  Result<std::optional<std::string>> text(const char* key);
  Result<bool> flag(const char* key, bool otherwise = false);
  // "0755": octal digits, at most 07777.
  Result<std::optional<uint32_t>> mode(const char* key);
  // Seconds since 1970 as a number or "1700000000.123456789"; or RFC 3339, "2024-02-29T12:00:00.5+01:00".
  Result<std::optional<Time>> time(const char* key);
  // Bytes: "text", {"text": …}, {"hex": …} or {"base64": …}.
  Result<std::optional<std::string>> bytes(const char* key);
  // An error if there is a key that nobody took.
  Result<void> end() const;

  Error refuse(const char* key, std::string_view why) const;
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json& object_;
  const std::string where_;
  std::set<std::string> taken_;
};

// For PlanFields and command lines.
std::optional<Time> parse_time(std::string_view text);
std::optional<std::string> decode_hex(std::string_view text);
std::optional<std::string> decode_base64(std::string_view text);  // RFC 4648, with its padding or without
// Bytes written as JSON has them; nothing if it is none of the forms above.
std::optional<std::string> bytes_of_json(const nlohmann::json& value);

}  // namespace karst::btrfs::build

// UUIDs for what is made: random ones, or the same ones each time from a seed. Not thread-safe.
#pragma once
#include <optional>
#include <string>

#include "core/uuid.h"

namespace karst::btrfs {

class UuidSource {
 public:
  explicit UuidSource(std::optional<std::string> seed = {}) : seed_(std::move(seed)) {}
  // The next one: version 4, by RFC 4122.
  Uuid next();

 private:
  std::optional<std::string> seed_;
  uint64_t count_ = 0;
};

}  // namespace karst::btrfs

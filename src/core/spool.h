// Bytes that are written once, in order, and read again later: in memory up to a limit, then in a temporary
// file.
//
// Not thread-safe. Errors: those of the temporary file.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/function_ref.h"
#include "core/spill_file.h"

namespace karst {

class Spool {
 public:
  struct Options {
    std::string directory = "/var/tmp";
    uint64_t memory = 32 << 20;  // bytes kept before any goes to the file
    uint64_t spill_limit = uint64_t{1} << 50;
  };
  explicit Spool(Options options) : options_(std::move(options)) {}

  uint64_t size() const { return size_; }
  Result<void> append(Bytes bytes);
  // Reads [offset, offset + destination.size()), all of it appended before.
  Result<void> read(uint64_t offset, MutableBytes destination) const;
  // Gives everything in order, in pieces of piece_size, the last one shorter. Borrowed for the call.
  Result<void> for_each(FunctionRef<Result<void>(Bytes)> each) const;

  static constexpr size_t piece_size = 1 << 20;

 private:
  using Piece = std::unique_ptr<std::byte[]>;

  const Options options_;
  std::vector<Piece> kept_;        // the first of them, full but for the last
  Piece filling_;                  // the last one, where kept_ may not grow
  std::optional<SpillFile> file_;  // those between
  uint64_t size_ = 0;
};

}  // namespace karst

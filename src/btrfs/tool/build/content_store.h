// Where contents that stream by go: those of archives, which can be read once and in their order only. The
// writer implements it and has the data in the image when end_file() returns.
//
// One file at a time, by the one thread that reads the archive. A failure of the store ends the build.
#pragma once
#include <string_view>
#include <vector>

#include "btrfs/tool/build/node.h"
#include "core/result.h"

namespace karst::btrfs::build {

// Names stored contents; its bytes mean something to the store only. Kept small: it travels with the record.
using ContentToken = std::vector<std::byte>;

class ContentStore {
 public:
  virtual ~ContentStore() = default;
  // `path` is absolute, for messages; properties are those that hold there; `size` is what the archive
  // announces (0 if it does not) and no promise.
  virtual Result<void> begin_file(std::string_view path, const Properties& properties, uint64_t size) = 0;
  // Offsets ascend; what is left out between two writes, or before the end, is a hole. Borrowed for the call.
  virtual Result<void> write(uint64_t offset, Bytes data) = 0;
  // The file has `size` bytes.
  virtual Result<ContentToken> end_file(uint64_t size) = 0;
  // The file begun last will not be ended: its archive broke off.
  virtual void abandon_file() = 0;
  // No inode has these contents: a later source replaced or removed them. Called before the first walk.
  virtual void release(Bytes token) = 0;
};

}  // namespace karst::btrfs::build

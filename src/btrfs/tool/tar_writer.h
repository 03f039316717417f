// Entries of a pax archive, as buffers: headers made here, contents without copying them.
#pragma once
#include <sys/uio.h>

#include <vector>

#include "btrfs/tool/pax_header.h"

namespace karst::btrfs {

// Bytes of an archive in order, some owned and some borrowed.
class TarBuffers {
 public:
  void borrow(Bytes bytes);
  void own(Bytes bytes);
  void zeroes(size_t count);
  // Valid until the next call of any other member.
  std::span<iovec> vectors();
  uint64_t size() const { return size_; }
  void clear();

 private:
  struct Part {
    const std::byte* borrowed;  // nullptr: at `offset` of owned_
    size_t offset, length;
  };
  std::vector<std::byte> owned_;
  std::vector<Part> parts_;
  std::vector<iovec> vectors_;
  uint64_t size_ = 0;
};

// Writes entries into buffers. Not thread-safe. Errors are pax_header()'s, and leave the buffers as they
// were.
class TarWriter {
 public:
  explicit TarWriter(TarBuffers& out) : out_(out) {}

  // An entry with all its contents (holes included; they are left out if the entry is sparse). `contents`
  // must live as long as the buffers.
  Result<void> add(const TarEntry& entry, Bytes contents);
  // Only what comes before the contents; the caller adds them, and contents_padding() zeroes.
  Result<void> add_header(const TarEntry& entry);

 private:
  TarBuffers& out_;
};

// The zeroes that end an archive of `size` bytes, up to a whole record of 20 blocks, as tar does.
constexpr size_t end_padding(uint64_t size) { return 1024 + (10240 - (size + 1024) % 10240) % 10240; }

}  // namespace karst::btrfs

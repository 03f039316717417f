// Entries of a pax archive, as buffers: headers by libarchive, contents without copying them.
#pragma once
#include <sys/uio.h>

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "btrfs/file/attributes.h"
#include "core/bytes.h"
#include "core/result.h"

struct archive;

namespace karst::btrfs {

// What one entry says, beyond its contents.
struct TarEntry {
  std::string path;      // in the archive
  Attributes attributes;
  std::string symlink;   // target
  std::string hardlink;  // path of the first name; then there are no contents
  std::vector<std::pair<std::string, std::string>> xattrs;  // name and value, ACLs among them
  std::vector<std::pair<uint64_t, uint64_t>> data;          // offset and length of what is not a hole
  bool sparse = false;   // whether `data` is to be used
};

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

// Writes entries into buffers. Not thread-safe.
class TarWriter {
 public:
  explicit TarWriter(TarBuffers& out);
  ~TarWriter();
  TarWriter(const TarWriter&) = delete;
  TarWriter& operator=(const TarWriter&) = delete;

  // An entry with all its contents (holes included; they are left out if the entry is sparse). `contents`
  // must live as long as the buffers.
  Result<void> add(const TarEntry& entry, Bytes contents);
  // Only what comes before the contents; the caller adds them, and contents_padding() zeroes. No further
  // entry can be added.
  Result<void> add_header(const TarEntry& entry);

 private:
  Result<void> write_header(const TarEntry& entry);
  static ssize_t write_callback(archive* handle, void* self, const void* buffer, size_t length);
  TarBuffers& out_;
  archive* archive_;
  Bytes contents_;  // what is being added: its bytes are borrowed, all others copied
};

constexpr size_t contents_padding(uint64_t contents) { return (512 - contents % 512) % 512; }
// The zeroes that end an archive of `size` bytes, up to a whole record of 20 blocks, as tar does.
constexpr size_t end_padding(uint64_t size) { return 1024 + (10240 - (size + 1024) % 10240) % 10240; }

}  // namespace karst::btrfs

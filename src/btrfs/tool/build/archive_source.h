// An archive as a source: whatever libarchive reads, as a stream.
//
// Contents go to the ContentStore as they come, holes left out; the entry goes to the inventory with the
// token.
#pragma once
#include <array>

#include "btrfs/tool/build/source.h"

namespace karst::btrfs::build {

// A blob's name in an OCI layout: what its bytes hash to.
struct Digest {
  std::string algorithm;  // "sha256" or "sha512"
  std::string hex;
};

struct ArchiveRead {
  int fd;                        // read from where it is to its end; not owned
  std::string name;              // for messages
  std::string target;            // where its root is in the image, normalised
  bool whiteouts;                // .wh. entries are OCI's
  std::optional<Digest> digest;  // of all bytes of fd; err::source_digest if it is another
  uint32_t number;               // among sources; keeps the links of one archive apart from another's
  WorkerPool* pool = nullptr;    // reads ahead, if there is one
  const SourceSpec& spec;
  const SourceOptions& options;
};

// One layer of the inventory. Errors of entries go to options.errors; those of the archive as such end it:
// err::source_archive.
Result<void> read_archive(const ArchiveRead& read, Inventory& inventory, ContentStore& store);

}  // namespace karst::btrfs::build

#include "btrfs/tree/block_reader.h"

namespace karst::btrfs {

BlockRef::BlockRef(cache::FolioRef folio) : folio_(std::move(folio)), view_(folio_.bytes()) {}

BlockReader::BlockReader(const Volume& volume, cache::Cache& cache)
    : volume_(volume), cache_(cache), object_(cache.new_object()) {}

BlockReader::~BlockReader() { cache_.remove_object(object_); }

Result<BlockRef> BlockReader::read(const BlockPointer& pointer) {
  const cache::FolioKey key{object_, raw(pointer.address)};
  if (cache::FolioRef hit = cache_.find(key)) {
    BlockRef block(std::move(hit));
    TRY(check_block_identity(*block, geometry(), pointer.expectation()));
    return block;
  }
  if (raw(pointer.address) % geometry().sectorsize != 0)
    return Error(err::block_bytenr, "tree block address is not a multiple of the sector size")
        .at("tree", root_name(pointer.root))
        .at("block", pointer.address);
  auto fill = [&](MutableBytes bytes) -> Result<void> {
    return volume_.read_verified(pointer.address, bytes,
                                 [&] { return verify_block(bytes, geometry(), pointer.expectation()); });
  };
  auto filled = cache_.get(key, geometry().nodesize, cache::Residence::always_mapped, fill);
  if (!filled)
    return std::move(filled).error().while_doing(
        fmt::format("reading a block of tree {}", root_name(pointer.root)));
  BlockRef block(std::move(*filled));
  // Another thread may have filled it for another pointer.
  TRY(check_block_identity(*block, geometry(), pointer.expectation()));
  return block;
}

void BlockReader::will_read(std::span<const BlockPointer> pointers) {
  uint64_t start = 0, end = 0;  // one run of adjacent blocks
  for (const BlockPointer& pointer : pointers) {
    uint64_t address = raw(pointer.address);
    if (cache_.peek({object_, address})) continue;
    if (address != end) {
      if (end > start) volume_.will_read(Logical(start), end - start);
      start = address;
    }
    end = address + geometry().nodesize;
  }
  if (end > start) volume_.will_read(Logical(start), end - start);
}

}  // namespace karst::btrfs

#include "btrfs/tree/block_reader.h"

namespace karst::btrfs {

BlockRef::BlockRef(cache::FolioRef folio) : folio_(std::move(folio)), view_(folio_.bytes()) {}

BlockRef::BlockRef(std::shared_ptr<const std::vector<std::byte>> made)
    : made_(std::move(made)), view_(Bytes(*made_)) {}

BlockReader::BlockReader(const Volume& volume, cache::Cache& cache, BlockTolerance tolerance)
    : volume_(volume), cache_(cache), tolerance_(tolerance), object_(cache.new_object()) {}

BlockReader::~BlockReader() { cache_.remove_object(object_); }

// What a block that is in the cache has to be.
BlockExpectation BlockReader::expectation_of(const BlockPointer& pointer) const {
  BlockExpectation expected = pointer.expectation();
  if (tolerance_.generation) expected.generation.reset();
  return expected;
}

// Whether a block that is in the cache is the one that is meant.
Result<void> BlockReader::check_identity(const TreeBlock& block, const BlockPointer& pointer) const {
  BlockExpectation expected = expectation_of(pointer);
  if (auto sieved = block.is_leaf() ? sieved_.find(block.bytenr()) : nullptr) {
    if (expected.first_key == sieved->first_key) expected.first_key.reset();
  }
  return check_block_identity(block, geometry(), expected);
}

// A second round over the copies, for the first that is good enough.
Result<void> BlockReader::read_tolerantly(const BlockPointer& pointer, MutableBytes bytes, Error reason) {
  if (!tolerance_.any()) return reason;
  const BlockExpectation expected = expectation_of(pointer);
  const TreeBlock block{Bytes(bytes)};
  auto read = volume_.read_verified(pointer.address, bytes, [&]() -> Result<void> {
    if (!tolerance_.checksum) TRY(check_block_checksum(bytes, geometry()));
    TRY(check_block_identity(block, geometry(), expected));
    if (tolerance_.items && block.is_leaf()) return sieved_.sieve(bytes, geometry());
    return check_block_structure(block, geometry());
  });
  if (!read) return reason;
  tolerated_.fetch_add(1, std::memory_order_relaxed);
  volume_.log().warning("a tree block is used although it is not as it should be",
                        {{"tree", root_name(pointer.root)}, {"block", pointer.address}}, &reason);
  return {};
}

Result<BlockRef> BlockReader::read(const BlockPointer& pointer) {
  const cache::FolioKey key{object_, raw(pointer.address)};
  if (cache::FolioRef hit = cache_.find(key)) {
    BlockRef block(std::move(hit));
    TRY(check_identity(*block, pointer));
    return block;
  }
  if (raw(pointer.address) % geometry().sectorsize != 0)
    return Error(err::block_bytenr, "tree block address is not a multiple of the sector size")
        .at("tree", root_name(pointer.root))
        .at("block", pointer.address);
  auto fill = [&](MutableBytes bytes) -> Result<void> {
    auto read = volume_.read_verified(pointer.address, bytes,
                                      [&] { return verify_block(bytes, geometry(), pointer.expectation()); });
    if (read) return {};
    return read_tolerantly(pointer, bytes, std::move(read).error());
  };
  auto filled = cache_.get(key, geometry().nodesize, cache::Residence::always_mapped, fill);
  if (!filled)
    return std::move(filled).error().while_doing(
        fmt::format("reading a block of tree {}", root_name(pointer.root)));
  BlockRef block(std::move(*filled));
  // Another thread may have filled it for another pointer.
  TRY(check_identity(*block, pointer));
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

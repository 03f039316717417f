#include "btrfs/format/check.h"

#include "btrfs/format/check_block.h"
#include "btrfs/format/object_ids.h"
#include "core/assert.h"

namespace karst::btrfs {
namespace err {
const ErrorKind block_checksum{"block-checksum", &karst::err::checksum, EIO};
const ErrorKind block_bytenr{"block-bytenr", &karst::err::corrupt, EUCLEAN};
const ErrorKind block_fsid{"block-fsid", &karst::err::corrupt, EUCLEAN};
const ErrorKind block_generation{"block-generation", &karst::err::corrupt, EUCLEAN};
const ErrorKind block_level{"block-level", &karst::err::corrupt, EUCLEAN};
const ErrorKind block_owner{"block-owner", &karst::err::corrupt, EUCLEAN};
const ErrorKind block_first_key{"block-first-key", &karst::err::corrupt, EUCLEAN};
const ErrorKind block_nritems{"block-nritems", &karst::err::corrupt, EUCLEAN};
const ErrorKind block_flags{"block-flags", &karst::err::corrupt, EUCLEAN};
const ErrorKind block_empty{"block-empty", &block_nritems, EUCLEAN};
}  // namespace err

namespace {

Error with_block(Error error, const TreeBlock& block) {
  return std::move(error).at("tree", root_name(block.owner())).at("block", block.bytenr());
}

template <typename E, typename F>
[[gnu::cold]] Error wrong(const ErrorKind& kind, const TreeBlock& block, const char* what, const E& expected,
                          const F& found) {
  return with_block(Error(kind, what).expected(expected, found), block);
}

}  // namespace

Result<void> check_block_checksum(Bytes block, const Geometry& geometry) {
  Checksum computed = compute_checksum(geometry.checksum_type, block.subspan(checksum_field_size));
  if (std::memcmp(computed.bytes.data(), block.data(), geometry.checksum_size) == 0) [[likely]]
    return {};
  Checksum found;
  std::memcpy(&found, block.data(), sizeof found);
  return Error(err::block_checksum, "tree block checksum mismatch")
      .expected(computed.text(geometry.checksum_type), found.text(geometry.checksum_type));
}

Result<void> check_block_identity(const TreeBlock& block, const Geometry& geometry,
                                  const BlockExpectation& expected) {
  const Header& header = block.header();
  if (header.bytenr != raw(expected.bytenr)) [[unlikely]]
    return wrong(err::block_bytenr, block, "tree block of another place", expected.bytenr, header.bytenr);
  if (!geometry.is_own_fsid(header.fsid)) [[unlikely]]
    return wrong(err::block_fsid, block, "tree block of another file system", geometry.metadata_uuid,
                 header.fsid);
  if (expected.generation && header.generation != *expected.generation) [[unlikely]]
    return wrong(err::block_generation, block, "tree block of another transaction", *expected.generation,
                 header.generation);
  if (expected.level && header.level != *expected.level) [[unlikely]]
    return wrong(err::block_level, block, "tree block of another level", *expected.level, header.level);
  if (expected.owner && !owner_agrees(header.owner, *expected.owner)) [[unlikely]]
    return wrong(err::block_owner, block, "tree block of another tree", root_name(*expected.owner),
                 root_name(header.owner));
  if (expected.first_key && (header.nritems == 0 || block.key(0) != *expected.first_key)) [[unlikely]]
    return wrong(err::block_first_key, block, "tree block does not begin with its parent's key",
                 *expected.first_key, header.nritems == 0 ? std::string("no item") : key_text(block.key(0)));
  return {};
}

namespace {

Result<void> check_header(const TreeBlock& block) {
  const Header& header = block.header();
  if (header.level >= max_level) [[unlikely]]
    return wrong(err::block_level, block, "level too big", "0 to 7", header.level);
  if (!(header.flags & header_flag_written)) [[unlikely]]
    return wrong(err::block_flags, block, "tree block is not marked as written", "flag WRITTEN",
                 fmt::format("0x{:x}", header.flags.value()));
  return {};
}

bool is_overlap(const Error& error) {
  return error.is(err::item_file_extent_overlap) || error.is(err::item_csum_overlap) ||
         error.is(err::item_extent_overlap) || error.is(err::item_dev_extent_overlap);
}

}  // namespace

Result<void> check_block_structure(const TreeBlock& block, const Geometry& geometry) {
  TRY(check_header(block));
  auto checked = block.is_leaf() ? check_leaf(block, geometry) : check_node(block, geometry);
  if (!checked) [[unlikely]]
    return with_block(std::move(checked).error(), block);
  return {};
}

Result<std::vector<InvalidItem>> find_invalid_items(const TreeBlock& leaf, const Geometry& geometry) {
  TRY(check_header(leaf));
  if (!leaf.is_leaf()) return wrong(err::block_level, leaf, "not a leaf", 0, leaf.level());
  std::vector<InvalidItem> found;
  auto checked = check_leaf(leaf, geometry, [&](uint32_t slot, Error reason) -> Result<void> {
    if (slot > 0 && is_overlap(reason) && (found.empty() || found.back().slot != slot - 1))
      found.push_back({slot - 1, &reason.kind()});
    found.push_back({slot, &reason.kind()});
    return {};
  });
  if (!checked) return with_block(std::move(checked).error(), leaf);
  return found;
}

Result<void> verify_block(Bytes bytes, const Geometry& geometry, const BlockExpectation& expected) {
  VERIFY(bytes.size() == geometry.nodesize && bytes.size() >= min_nodesize);
  auto sum = check_block_checksum(bytes, geometry);
  if (!sum) [[unlikely]]
    return std::move(sum).error().at("block", raw(expected.bytenr));
  TreeBlock block(bytes);
  TRY(check_block_identity(block, geometry, expected));
  return check_block_structure(block, geometry);
}

bool owner_agrees(uint64_t owner, uint64_t root) {
  if (root == 0 || root == id::tree_reloc) return true;
  return is_subvolume(root) ? is_subvolume(owner) : owner == root;
}

}  // namespace karst::btrfs

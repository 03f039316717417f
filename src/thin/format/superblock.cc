#include "thin/format/superblock.h"

#include <algorithm>

#include "thin/format/errors.h"

namespace karst::thin {
namespace {

SpaceMapRoot get(const std::array<std::byte, 128>& from) { return *overlay<SpaceMapRoot>(from); }
void put(std::array<std::byte, 128>& to, const SpaceMapRoot& root) {
  std::ranges::copy(bytes_of(root), to.begin());
}

Error wrong_size(const char* what, uint64_t expected, uint64_t found) {
  return Error(err::super_size, what).at("block", superblock_at).expected(expected, found);
}

}  // namespace

SpaceMapRoot Superblock::data_space_map() const { return get(data_space_map_root); }
SpaceMapRoot Superblock::metadata_space_map() const { return get(metadata_space_map_root); }
void Superblock::set_data_space_map(const SpaceMapRoot& root) { put(data_space_map_root, root); }
void Superblock::set_metadata_space_map(const SpaceMapRoot& root) { put(metadata_space_map_root, root); }

Result<void> check_superblock(const Superblock& super, Opening opening) {
  if (super.magic != superblock_magic)
    return Error(err::super_magic, "not the superblock of a thin pool")
        .at("block", superblock_at)
        .expected(superblock_magic, super.magic);
  if (super.version < superblock_version_min || super.version > superblock_version)
    return Error(err::super_version, "metadata of an unknown version")
        .expected(fmt::format("{} to {}", superblock_version_min, superblock_version), super.version);
  if (super.incompat_flags != 0)
    return Error::make(err::super_feature, "metadata with unknown features (incompatible: {:#x})",
                       super.incompat_flags.value());
  if (opening == Opening::for_writing && super.compat_ro_flags != 0)
    return Error::make(err::super_feature,
                       "metadata with features that can only be read (compatible for reading: {:#x})",
                       super.compat_ro_flags.value());
  if (super.metadata_block_size != metadata_block_sectors)
    return wrong_size("metadata blocks of a size that is not supported", metadata_block_sectors,
                      super.metadata_block_size);
  if (!is_data_block_size(super.data_block_size))
    return Error(err::super_size, "data blocks of an impossible size")
        .expected("a multiple of 128 sectors up to 2097152", super.data_block_size.value());
  return {};
}

}  // namespace karst::thin

// Metadata of any bytes, with the seals made right: check, dump and repair come to an end, and what repair
// writes is consistent.
//
// The input is a device of blocks. Each begins with a byte that says which kind of block it is to be, and
// then has its contents, of any length up to the next block's; the first is the superblock, whose constant
// fields are set.
#include <algorithm>
#include <cstring>

#include "core/assert.h"
#include "thin/tool/testing_pools.h"

using namespace karst;
using namespace karst::thin;

namespace {

constexpr size_t blocks = 24;
constexpr size_t piece = 512;  // bytes of input for each block: mutations reach its header and first entries

constexpr BlockKind kinds[] = {BlockKind::node, BlockKind::bitmap, BlockKind::index, BlockKind::superblock};

void set_constants(Superblock& super) {
  super.magic = superblock_magic;
  super.version = superblock_version;
  super.metadata_block_size = metadata_block_sectors;
  super.data_block_size = data_block_sectors_min;
  super.incompat_flags = 0;
  SpaceMapRoot metadata = super.metadata_space_map(), data = super.data_space_map();
  metadata.nr_blocks = blocks;
  data.nr_blocks = data.nr_blocks % 40000;
  super.set_metadata_space_map(metadata);
  super.set_data_space_map(data);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto disk = thin::testing::blank_metadata(blocks * metadata_block_size);
  for (size_t number = 0; number < blocks && number * piece < size; ++number) {
    const size_t begin = number * piece, length = std::min(piece, size - begin);
    const BlockKind kind = number == 0 ? BlockKind::superblock : kinds[data[begin] % 4];
    thin::testing::change_block(*disk, MetadataBlock{number}, kind, [&](MutableBytes block) {
      std::memcpy(block.data(), data + begin, length);
      if (number == 0) set_constants(*reinterpret_cast<Superblock*>(block.data()));
    });
  }
  const auto checked = thin::testing::check(*disk);
  const auto dumped = thin::testing::dump_text(*disk);
  if (checked && checked->report.good) VERIFY(dumped.has_value());
  const auto repaired = thin::testing::blank_metadata(4 * blocks * metadata_block_size);
  if (!thin::testing::repair(*disk, *repaired, {.data_block_size = 128, .nr_data_blocks = 40000})) return 0;
  const auto after = thin::testing::check(*repaired);
  VERIFY(after && after->report.good);
  return 0;
}

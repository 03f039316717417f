#include "btrfs/format/check_block.h"

namespace karst::btrfs {
namespace err {
const ErrorKind node_structure{"node-structure", &karst::err::corrupt, EUCLEAN};
const ErrorKind node_key_order{"node-key-order", &node_structure, EUCLEAN};
const ErrorKind node_pointer{"node-pointer", &node_structure, EUCLEAN};
}  // namespace err

Result<void> check_node(const TreeBlock& node, const Geometry& geometry) {
  uint32_t count = node.header().nritems, most = max_key_ptrs(node.nodesize());
  if (count == 0 || count > most) [[unlikely]]
    return Error(err::block_nritems, "invalid number of pointers")
        .expected(fmt::format("1 to {}", most), count);
  Key previous;
  for (uint32_t slot = 0; slot < count; ++slot) {
    const KeyPtr& pointer = node.key_ptr(slot);
    Key key = pointer.key.key();
    if (slot > 0 && previous >= key) [[unlikely]]
      return Error(err::node_key_order, "keys out of order")
          .expected(fmt::format("above {}", previous), key)
          .at("slot", slot)
          .at("key", key);
    uint64_t bytenr = pointer.blockptr;
    if (bytenr == 0 || (bytenr & (geometry.sectorsize - 1)) != 0) [[unlikely]]
      return Error(err::node_pointer, "invalid pointer to a block")
          .expected(fmt::format("a multiple of {}, not 0", geometry.sectorsize), bytenr)
          .at("slot", slot)
          .at("key", key);
    previous = key;
  }
  return {};
}

}  // namespace karst::btrfs

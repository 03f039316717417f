// The input of fuzzers as patches of an image: each two le16 for a block and a place in it, a byte with their
// number, and that many bytes. Even blocks are tree blocks in the order of a dump, odd ones the superblock.
// Checksums are made right.
#pragma once
#include "btrfs/tool/testing_mutation.h"

namespace karst::btrfs::testing {

struct PatchHead {
  le16 block, place;
  uint8_t length;
};

inline void apply_patches(const PristineImage& image, Bytes input, Devices& devices) {
  while (const auto* head = overlay<PatchHead>(input)) {
    const Bytes rest = input.subspan(sizeof *head);
    const Bytes bytes = rest.first(std::min<size_t>(head->length, rest.size()));
    input = rest.subspan(bytes.size());
    auto change = [&](MutableBytes target) {
      for (size_t i = 0; i < bytes.size(); ++i) target[(head->place + i) % target.size()] = bytes[i];
    };
    if (head->block % 2 == 1) {
      for (auto& device : devices)
        for_each_superblock(*device, [&](Superblock& super) {
          change(mutable_bytes(super).subspan(checksum_field_size));
          super.magic = superblock_magic;
        });
    } else {
      const auto& blocks = image.blocks();
      image.change_block(devices, blocks[head->block / 2 % blocks.size()].bytenr,
                         [&](MutableBytes block) { change(block.subspan(checksum_field_size)); });
    }
  }
}

}  // namespace karst::btrfs::testing

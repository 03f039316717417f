// Input: patches of a small image, each two le16 for a block and a place in it, a byte with their number, and
// that many bytes. Even blocks are tree blocks in the order of a dump, odd ones the superblock. Checksums are
// made right. Everything that reads is used on the result, the export among it.
//
// The image is a checked-in one: KARST_FUZZ_IMAGE names it, nodesize-4k otherwise.
#include <cstdlib>

#include "btrfs/tool/testing_mutation.h"

using namespace karst;
using namespace karst::btrfs;
using namespace karst::btrfs::testing;

namespace {

struct PatchHead {
  le16 block, place;
  uint8_t length;
};

void apply(const PristineImage& image, Bytes input, Devices& devices) {
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

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const char* name = std::getenv("KARST_FUZZ_IMAGE");
  static const PristineImage image(name ? name : "nodesize-4k");
  static Exerciser exerciser({.read_limit = 4 << 20, .archive_limit = 16 << 20});
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  exerciser.run(image, [&](auto& devices) { apply(image, input, devices); });
  return 0;
}

// Input: a byte of options (below), a byte with a number of tree blocks and a le16 for each, which are
// destroyed, and patches (testing_fuzz_patches.h). What is left is restored into nothing, and searched for
// roots.
//
// The image is a checked-in one: KARST_FUZZ_IMAGE names it, nodesize-4k otherwise.
#include <cstdlib>

#include "btrfs/tool/restore/testing_restore.h"
#include "btrfs/tool/testing_fuzz_patches.h"

using namespace karst;
using namespace karst::btrfs;
using namespace karst::btrfs::testing;

namespace {

struct InputHead {
  uint8_t options, destroyed;
};

DamagedOpenOptions options_from(uint8_t bits) {
  DamagedOpenOptions options;
  options.ignore_checksums = bits & 1;
  options.replay_log = (bits & 2) == 0;
  if (bits & 4) options.backup_root = bits >> 6;
  return options;
}

// Returns what follows.
Bytes destroy_blocks(const PristineImage& image, Bytes input, Devices& devices) {
  const auto* head = overlay<InputHead>(input);
  if (!head) return {};
  input = input.subspan(sizeof *head);
  for (unsigned i = 0; i < head->destroyed && input.size() >= sizeof(le16); ++i) {
    const auto& block = image.blocks()[*overlay<le16>(input) % image.blocks().size()];
    image.write_block(devices, block.bytenr, std::vector<std::byte>(image.geometry().nodesize));
    input = input.subspan(sizeof(le16));
  }
  return input;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const char* name = std::getenv("KARST_FUZZ_IMAGE");
  static const PristineImage image(name ? name : "nodesize-4k");
  static Salvager salvager(4 << 20);
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  auto devices = [&] {
    auto made = image.overlays();
    apply_patches(image, destroy_blocks(image, input, made), made);
    return made;
  };
  salvager.run(devices, options_from(input.empty() ? 0 : data[0]));
  return 0;
}

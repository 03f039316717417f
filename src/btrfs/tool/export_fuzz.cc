// Input: patches of a small image (testing_fuzz_patches.h). Everything that reads is used on the result, the
// export among it.
//
// The image is a checked-in one: KARST_FUZZ_IMAGE names it, nodesize-4k otherwise.
#include <cstdlib>

#include "btrfs/tool/testing_fuzz_patches.h"

using namespace karst;
using namespace karst::btrfs;
using namespace karst::btrfs::testing;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const char* name = std::getenv("KARST_FUZZ_IMAGE");
  static const PristineImage image(name ? name : "nodesize-4k");
  static Exerciser exerciser({.read_limit = 4 << 20, .archive_limit = 16 << 20});
  const Bytes input(reinterpret_cast<const std::byte*>(data), size);
  exerciser.run(image, [&](auto& devices) { apply_patches(image, input, devices); });
  return 0;
}

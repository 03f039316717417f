// A fuzzer that must fail: it proves that fuzzing finds things. The input stands where a superblock has its
// magic number; with the right one, a byte behind the end of an allocation is read. Eight bytes are not
// guessed: they are found only if the code that is fuzzed tells libFuzzer what it compares, and the read is
// seen only by the address sanitizer. scripts/fuzz expects that report.
#include <memory>

#include "btrfs/format/superblock.h"

using namespace karst;
using namespace karst::btrfs;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Superblock super{};
  super.csum_type = 0;
  std::memcpy(&super.magic, data, std::min(size, sizeof super.magic));
  const auto checked = check_superblock(super, super.bytenr);
  if (checked || checked.error().is(btrfs::err::super_magic)) return 0;
  const auto bytes = std::make_unique<char[]>(1);
  const size_t behind = std::min<size_t>(size, 1);
  return bytes[behind] == 1 ? -1 : 0;  // never reached: the report comes first
}

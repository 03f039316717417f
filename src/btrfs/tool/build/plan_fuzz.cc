// Input: a plan file. What is accepted is declared and must be accepted or refused as a whole, too.
#include "btrfs/tool/build/placement.h"
#include "btrfs/tool/build/plan.h"

using namespace karst;
using namespace karst::btrfs::build;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Declarations declarations;
  auto done =
      read_plan({reinterpret_cast<const char*>(data), size}, "plan", IdNames(), [&](PlanEntry&& entry) {
        declare(entry, declarations);
        return Result<void>();
      });
  if (done) (void)Placement::create(declarations);
  return 0;
}

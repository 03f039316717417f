// Joins mappings to runs: blocks that follow each other on the device and on the data device, mapped at the
// same time.
#pragma once
#include <optional>

#include "core/function_ref.h"
#include "thin/format/node.h"
#include "thin/format/superblock.h"
#include "thin/tool/pool_sink.h"

namespace karst::thin {

class MappingRuns {
 public:
  using Each = FunctionRef<Result<void>(const MappingRun&)>;
  enum class Times { kept_apart, ignored };
  explicit MappingRuns(Each each, Times times = Times::kept_apart) : each_(each), times_(times) {}

  Result<void> add(VirtualBlock at, Mapping mapping) {
    if (run_.length != 0) {
      if (raw(at) == raw(run_.begin) + run_.length && raw(mapping.block) == raw(run_.data) + run_.length &&
          (times_ == Times::ignored || mapping.time == run_.time)) {
        ++run_.length;
        return {};
      }
      TRY(each_(run_));
    }
    run_ = {at, mapping.block, 1, mapping.time};
    return {};
  }
  Result<void> add(NodeView leaf, uint32_t begin, uint32_t end) {
    for (uint32_t i = begin; i < end; ++i)
      TRY(add(VirtualBlock{leaf.key(i)}, Mapping::unpack(leaf.value_as<le64>(i))));
    return {};
  }
  // After the last one.
  Result<void> finish() {
    if (run_.length == 0) return {};
    const MappingRun last = run_;
    run_ = {};
    return each_(last);
  }

 private:
  Each each_;
  const Times times_;
  MappingRun run_;
};

}  // namespace karst::thin

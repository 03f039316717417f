// What a commit of the metadata asks of the pool around it.
#pragma once
#include "core/result.h"

namespace karst::thin {

// What its owner does at each commit. Lives as long as the pool does: every commit is given it (TH-018,
// TH-019).
class CommitSteps {
 public:
  virtual ~CommitSteps() = default;
  // After the last change that belongs to the commit, and before the superblock is written: what mappings of
  // it point to has to be stable (TH-010).
  virtual Result<void> flush_data() = 0;
  // Before data blocks that the commit freed can be given out: waits for requests that may still use them.
  virtual void settle() = 0;
};

}  // namespace karst::thin

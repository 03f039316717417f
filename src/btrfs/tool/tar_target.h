// A pax tar as the target of a copy.
#pragma once
#include <sys/uio.h>

#include "btrfs/tool/copy_tree.h"

namespace karst::btrfs {

// Where the archive goes: all buffers, in order, or an error. Borrowed for the call; iovecs may be changed.
using TarSink = FunctionRef<Result<void>(std::span<iovec>)>;

// Names in the archive are "./path", of directories "./path/". Ranges that cannot be read are zeroes.
class TarTarget final : public CopyTarget {
 public:
  explicit TarTarget(TarSink sink) : sink_(sink) {}

  bool takes_sockets() const override { return false; }
  std::unique_ptr<Part> new_part() override;
  Result<void> add(Part& part, CopiedEntry& entry, Bytes contents, Failures failures) override;
  Result<void> begin_pieces(Part& part, CopiedEntry& entry) override;
  Result<void> add_piece(Part& part, const CopiedEntry& entry, uint64_t offset, Bytes contents,
                         Failures failures, bool last) override;
  Result<void> take(Part& part) override;

  // Ends the archive, after everything has been taken.
  Result<void> finish();

 private:
  TarSink sink_;
  uint64_t written_ = 0;
};

}  // namespace karst::btrfs

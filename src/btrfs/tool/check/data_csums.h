// All data that has checksums, read and compared, in every copy.
#pragma once
#include "btrfs/tool/check/state.h"

namespace karst::btrfs::check {

// In pieces of the address space, by all threads; each piece is read in large batches. Mirrors are read one
// after the other; of parity profiles the data itself.
Result<void> check_data_csums(State& state);

}  // namespace karst::btrfs::check

// The messages of a thin pool, as `dmsetup message POOL 0 …` takes them (TH-003).
//
//   create_thin ID · create_snap ID ORIGIN · delete ID · set_transaction_id CURRENT NEW ·
//   reserve_metadata_snap · release_metadata_snap
//
// Source: Linux drivers/md/dm-thin.c, pool_message and process_*_mesg. Words of messages are compared without
// regard to case; errors are the kernel's in words and number.
#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "thin/pool/pool.h"

namespace karst::thin {

// Text for the caller, where a message gives any (TH-004); none of these does.
using MessageAnswer = std::optional<std::string>;
Result<MessageAnswer> send_message(Pool& pool, std::string_view message);

}  // namespace karst::thin

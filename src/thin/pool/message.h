// The messages of a thin pool, as `dmsetup message POOL 0 …` takes them (TH-003).
//
//   create_thin ID · create_snap ID ORIGIN · delete ID · set_transaction_id CURRENT NEW ·
//   reserve_metadata_snap · release_metadata_snap
//
// Source: Linux drivers/md/dm-thin.c, pool_message and process_*_mesg. Words of messages are compared without
// regard to case; errors are the kernel's in words and number.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "thin/pool/pool.h"

namespace karst::thin {

// Text for the caller, which may be empty; nothing from a message that gives none (TH-004). None of the
// kernel's does.
using MessageAnswer = std::optional<std::string>;
using MessageWords = std::vector<std::string_view>;
struct Message {
  std::string_view word;
  Result<MessageAnswer> (*handle)(Pool& pool, const MessageWords& words);
};
// What a create_snap that was carried out has made.
struct SnapshotMade {
  DeviceId id, origin;
};
std::optional<SnapshotMade> snapshot_made_by(std::string_view message);
std::span<const Message> pool_messages();
Result<MessageAnswer> send_message(Pool& pool, std::string_view message,
                                   std::span<const Message> messages = pool_messages());

}  // namespace karst::thin

#include "thin/pool/message.h"

#include <algorithm>

#include "thin/format/errors.h"
#include "thin/pool/features.h"

namespace karst::thin {
namespace {

bool same_word(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return std::ranges::equal(a, b, [&](char x, char y) { return lower(x) == lower(y); });
}

Result<void> check_count(const MessageWords& words, size_t expected) {
  if (words.size() == expected) return {};
  return Error::make(err::invalid, "Message received with {} arguments instead of {}.", words.size(),
                     expected);
}

Result<DeviceId> device_id(std::string_view word) {
  const auto number = parse_number(word);
  if (!number || *number > max_device_id)
    return Error::make(err::invalid, "Message received with invalid device id: {}", word);
  return static_cast<DeviceId>(*number);
}

Result<uint64_t> transaction_id(std::string_view word, const char* which) {
  const auto number = parse_number(word);
  if (!number)
    return Error::make(err::invalid, "set_transaction_id message: Unrecognised {} id {}.", which, word);
  return *number;
}

// No answer; or what the kernel's log says, in front of the reason.
Result<MessageAnswer> done(Result<void> outcome, std::string failed) {
  TRY(std::move(outcome).context([&] { return failed; }));
  return MessageAnswer();
}

Result<MessageAnswer> create_thin(Pool& pool, const MessageWords& words) {
  TRY(check_count(words, 2));
  const DeviceId id = TRY(device_id(words[1]));
  return done(pool.create_thin(id),
              fmt::format("Creation of new thinly-provisioned device with id {} failed.", id));
}

Result<MessageAnswer> create_snap(Pool& pool, const MessageWords& words) {
  TRY(check_count(words, 3));
  const DeviceId id = TRY(device_id(words[1])), origin = TRY(device_id(words[2]));
  return done(pool.create_snap(id, origin),
              fmt::format("Creation of new snapshot {} of device {} failed.", id, origin));
}

Result<MessageAnswer> delete_device(Pool& pool, const MessageWords& words) {
  TRY(check_count(words, 2));
  const DeviceId id = TRY(device_id(words[1]));
  return done(pool.delete_device(id), fmt::format("Deletion of thin device {} failed.", id));
}

Result<MessageAnswer> set_transaction_id(Pool& pool, const MessageWords& words) {
  TRY(check_count(words, 3));
  const uint64_t current = TRY(transaction_id(words[1], "old")), next = TRY(transaction_id(words[2], "new"));
  return done(pool.set_transaction_id(current, next),
              fmt::format("Failed to change transaction id from {} to {}.", current, next));
}

Result<MessageAnswer> reserve_metadata_snap(Pool& pool, const MessageWords& words) {
  TRY(check_count(words, 1));
  return done(pool.reserve_metadata_snap(), "reserve_metadata_snap message failed.");
}

Result<MessageAnswer> release_metadata_snap(Pool& pool, const MessageWords& words) {
  TRY(check_count(words, 1));
  return done(pool.release_metadata_snap(), "release_metadata_snap message failed.");
}

constexpr Message kernels_messages[] = {
    {"create_thin", create_thin},
    {"create_snap", create_snap},
    {"delete", delete_device},
    {"set_transaction_id", set_transaction_id},
    {"reserve_metadata_snap", reserve_metadata_snap},
    {"release_metadata_snap", release_metadata_snap},
};

}  // namespace

std::optional<SnapshotMade> snapshot_made_by(std::string_view message) {
  const MessageWords words = split_words(message);
  if (words.size() != 3 || !same_word(words[0], "create_snap")) return std::nullopt;
  const auto id = device_id(words[1]), origin = device_id(words[2]);
  if (!id || !origin) return std::nullopt;
  return SnapshotMade{*id, *origin};
}

std::span<const Message> pool_messages() { return kernels_messages; }

Result<MessageAnswer> send_message(Pool& pool, std::string_view text, std::span<const Message> messages) {
  const MessageWords words = split_words(text);
  if (words.empty()) return Error(err::invalid, "Empty message received.");
  TRY(pool.check_commands());
  for (const Message& message : messages)
    if (same_word(message.word, words[0])) return message.handle(pool, words);
  return Error::make(err::invalid, "Unrecognised thin pool target message received: {}", words[0]);
}

}  // namespace karst::thin

// What has become of volumes since a pool's description was written: records behind it, each one change.
//
// A record begins on a sector: magic, checksum, length, the epoch of the description it follows, its number
// among its records, who wrote it, and JSON: {"put": VOLUME} or {"remove": ID}. The first record that is not
// whole, or is of another epoch, ends the journal; a crash while one is written leaves the state before it.
// What lies behind a record that a crash has lost must not be taken up again once another is in its place: so
// each checksum depends on that of the record before, and all on a number that each writer draws.
//
// Not thread-safe.
#pragma once
#include "block/device.h"
#include "thin/home/volume_table.h"

namespace karst::thin {

// Not to be met again: epochs, and the numbers of writers.
uint64_t random_number();

class VolumeJournal {
 public:
  // In bytes [at, at + size) of the file, which outlives it. `epoch` is the description's.
  VolumeJournal(block::Device& file, uint64_t at, uint64_t size, uint64_t epoch);

  // Applies what is there, and goes on behind it. err::corrupt if a whole record makes no sense.
  Result<void> replay(VolumeTable& volumes);

  // Records may wait for the next flush when a crash before it may as well lose them; order is kept.
  enum class Durable : uint8_t { now, with_the_next };
  // err::limit, with nothing written, if there is no room left. After any other error the record may be there
  // or not, and nothing more is to be added.
  Result<void> note_put(const VolumeEntry& volume, Durable durable);
  Result<void> note_removed(DeviceId id, Durable durable);

 private:
  Result<void> append(const std::string& json, Durable durable);

  block::Device* file_;
  uint64_t at_, size_, epoch_, writer_;
  uint64_t end_ = 0;  // bytes of whole records
  uint64_t number_ = 0;
  uint32_t before_ = 0;  // the last record's checksum
};

}  // namespace karst::thin

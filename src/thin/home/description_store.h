// The description of a pool on its file: two copies, and what has become of volumes since.
//
//   0 and 58 MiB    a copy: magic, version, checksum, generation, epoch, length; from 4096 on the JSON
//   116 MiB         the journal of what has become of volumes since (volume_journal.h), up to 120 MiB
//
// A change of a volume is added to the journal. Any other change, and one for which the journal has no room,
// writes both copies anew, the older first, so one of the two is always whole; both have an epoch then, drawn
// at random, and so has every record that belongs to them. Not thread-safe.
#pragma once
#include <optional>

#include "block/device.h"
#include "core/function_ref.h"
#include "thin/home/description.h"
#include "thin/home/volume_journal.h"

namespace karst::thin {

class DescriptionStore {
 public:
  static constexpr uint64_t copy_size = 58 << 20;
  static constexpr uint64_t journal_at = 2 * copy_size;
  static constexpr uint64_t size = 120 << 20;

  // On a device that outlives it. Durable on return.
  static Result<DescriptionStore> create(block::Device& device, PoolDescription description);
  // A copy that is damaged is passed over, if the other one is not: err::corrupt, err::checksum.
  // err::unsupported for another version; errors of the device.
  static Result<DescriptionStore> open(block::Device& device);
  // Whether a device begins like one.
  static Result<bool> is_one(block::Device& device);

  const PoolDescription& description() const { return description_; }
  // Whether a copy was damaged when it was opened. The next change mends that.
  bool found_damage() const { return found_damage_; }
  // Durable on return. After an error the old one is kept.
  Result<void> save(PoolDescription description);
  // The same for one volume, at a cost that does not grow with how many there are. err::exists if another has
  // its name; err::limit if there is no room for more; err::invalid for what could not be read again.
  using Durable = VolumeJournal::Durable;
  Result<void> put(VolumeEntry volume, Durable durable = Durable::now);
  Result<void> remove(DeviceId id, Durable durable = Durable::now);

 private:
  explicit DescriptionStore(block::Device& device) : device_(&device) {}
  Result<void> write_next();
  Result<void> note(FunctionRef<Result<void>(VolumeJournal& journal)> note);
  void begin_journal();

  block::Device* device_;
  PoolDescription description_;
  uint64_t generation_ = 0, epoch_ = 0;
  uint64_t json_bytes_ = 0;  // about as many as a copy would have now
  bool found_damage_ = false;
  std::optional<VolumeJournal> journal_;  // none while not both copies are known to be of this epoch
};

}  // namespace karst::thin

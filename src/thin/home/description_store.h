// The description of a pool on its file: two copies, and what has become of volumes since.
//
//   0 and 60 MiB    a copy: magic, version, checksum, generation, length; from 4096 on the JSON; in the last
//                   4 MiB the journal of what has become of volumes since (volume_journal.h)
//
// A change of a volume is added to the journal of the newer copy. Any other change, and one for which the
// journal has no room, writes both copies anew, the older first; so one of the two is always whole. Not
// thread-safe.
#pragma once
#include <optional>

#include "block/device.h"
#include "core/function_ref.h"
#include "thin/home/description.h"
#include "thin/home/volume_journal.h"

namespace karst::thin {

class DescriptionStore {
 public:
  static constexpr uint64_t copy_size = 60 << 20;
  static constexpr uint64_t journal_at = 56 << 20;  // in a copy
  static constexpr uint64_t size = 2 * copy_size;

  // On a device that outlives it. Durable on return.
  static Result<DescriptionStore> create(block::Device& device, PoolDescription description);
  // err::corrupt, err::checksum, err::unsupported.
  static Result<DescriptionStore> open(block::Device& device);
  // Whether a device begins like one.
  static Result<bool> is_one(block::Device& device);

  const PoolDescription& description() const { return description_; }
  // Durable on return. After an error the old one is kept.
  Result<void> save(PoolDescription description);
  // The same for one volume, at a cost that does not grow with how many there are. err::exists if another has
  // its name.
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
  uint64_t generation_ = 0;
  std::optional<VolumeJournal> journal_;  // of that copy; none while a newer one may be there in part
};

}  // namespace karst::thin

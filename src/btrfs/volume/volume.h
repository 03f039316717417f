// A volume: the devices of one file system as one logical address space.
//
// read_copy() obtains bytes by one given way; the callers that know how to verify (tree blocks by
// their header, data by its checksums) walk the ways with read_verified() until one passes, so a bad copy
// is reported, and another tried. raid5/6 count their reconstructions as further copies:
//   copy 0            the data stripe itself; where its device is missing, what copy 1 is
//   copy 1            rebuilt from the other data and P (raid6: Q where P's device is missing)
//   copy 2 (raid6)    rebuilt from the other data and Q, P taken as lost
//   copy 3 … (raid6)  rebuilt with one other data stripe of the row taken as lost too
// A missing device fails its copies at once (of raid5/6: is no copy that is bad, since that is known from the
// start); reconstruction counts it among the lost.
//
// Thread-safety: immutable after opening; any number of threads read. Errors: device errors, chunk_missing,
// device_missing, and for read_verified the error of the last copy with all tried copies named.
#pragma once
#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "block/device.h"
#include "block/queue.h"
#include "btrfs/volume/chunk_map.h"
#include "core/function_ref.h"
#include "core/log.h"

namespace karst::btrfs {

namespace err {
extern const ErrorKind device_missing;
extern const ErrorKind device_foreign;  // a device of another file system
}  // namespace err

// One device of the file system, with its own copy of the superblock.
struct MemberDevice {
  block::Device* device;  // owned by the Volume
  uint64_t devid;
  Uuid uuid;
  Superblock super;
};

struct VolumeOptions {
  std::optional<int> super_mirror;  // use this superblock copy, instead of the first good one
  // For tools that recover what they can:
  bool skip_bad_devices = false;    // a device without a good superblock is as good as missing
  bool any_super_checksum = false;  // where no copy is good, one whose checksum alone is wrong will do
};

class Volume {
 public:
  // Reads the superblocks of the devices, picks the newest, and maps the system chunks. The first device
  // decides which file system it is; the others must belong to it (or be its seeds).
  static Result<std::unique_ptr<Volume>> open(std::vector<std::unique_ptr<block::Device>> devices,
                                              const VolumeOptions& options, const Logger& log);
  ~Volume();
  Volume(const Volume&) = delete;
  Volume& operator=(const Volume&) = delete;

  const Superblock& super() const { return *super_; }
  const Geometry& geometry() const { return geometry_; }
  const ChunkMap& chunks() const { return chunks_; }
  // Only while opening: the chunk tree's chunks beyond the system ones.
  ChunkMap& chunks_to_fill() { return chunks_; }
  const std::vector<MemberDevice>& members() const { return members_; }
  const MemberDevice* member(uint64_t devid) const;
  // The same, told apart from a seed of another file system that has that devid.
  const MemberDevice* member(uint64_t devid, const Uuid& uuid) const;
  const Logger& log() const { return log_; }
  // Of all devices that were given.
  uint64_t device_bytes() const;

  Result<int> copies(Logical address) const;
  // The copy to try first: spreads reads over mirrors, avoids missing devices.
  int first_copy(const ChunkEntry& chunk, uint64_t address) const;

  // Obtains [address, address + destination.size()) by way `copy`. The range may cross stripes and chunks.
  Result<void> read_copy(Logical address, MutableBytes destination, int copy) const;

  // One of many reads in flight together.
  struct ReadRequest {
    Logical address{};
    MutableBytes destination;
    int copy = 0;
    std::optional<Result<void>> outcome;
  };
  // Does all of them, with as many in flight as the caller's queue takes. Each gets its own outcome.
  void read_batch(block::Queue& queue, std::span<ReadRequest> requests) const;

  // Tries the copies until `verify` accepts the bytes. Reports each bad one to the log.
  Result<void> read_verified(Logical address, MutableBytes destination,
                             FunctionRef<Result<void>()> verify) const;
  // The same when copy `first` has already been read and has failed with `reason`.
  Result<void> read_other_copies(Logical address, MutableBytes destination, int first, Error reason,
                                 FunctionRef<Result<void>()> verify) const;

  // How much of this range, from its start, is mapped by one chunk to devices that are there (rounded up to a
  // whole row of stripes). Trying to read the rest is in vain, and could take for ever: lengths are what the
  // image claims.
  uint64_t reachable_length(Logical address, uint64_t length) const;

  // Tells the devices that these ranges will be read soon.
  void will_read(Logical address, uint64_t length) const;

  // Bad copies seen so far.
  uint64_t bad_copies() const { return bad_copies_.load(std::memory_order_relaxed); }

 private:
  // A run of a request in a batch, and what is not one.
  struct Piece {
    ReadRequest* request;
    block::Device* device;
    uint64_t offset;  // bytes on it
    iovec buffer;
    block::IoRequest io;
  };
  struct Apart {
    ReadRequest* request;
    Logical address;
    MutableBytes destination;
  };
  struct Batch {
    std::vector<Piece> pieces;  // does not grow any more when the first is submitted
    std::vector<Apart> apart;
  };
  void plan(ReadRequest& request, Batch& batch) const;

  explicit Volume(const Logger& log);
  Result<void> read_stripe(const ChunkEntry& chunk, const StripeRun& run, MutableBytes destination) const;
  Result<void> rebuild(const ChunkEntry& chunk, const StripeRun& run, MutableBytes destination,
                       int copy) const;
  const MemberDevice* member_of(const ChunkStripe& stripe) const {
    return member(stripe.devid, stripe.dev_uuid);
  }
  // Whether this run is read by rebuilding it from the others of its row.
  bool is_rebuilt(const ChunkEntry& chunk, const StripeRun& run, int copy) const {
    return chunk.is_parity() && (copy > 0 || !member_of(chunk.stripes[run.stripe]));
  }

  const Logger log_;
  std::vector<std::unique_ptr<block::Device>> devices_;
  std::vector<MemberDevice> members_;
  const Superblock* super_ = nullptr;  // of the member with the newest generation
  Geometry geometry_;
  ChunkMap chunks_;
  mutable std::atomic<uint64_t> bad_copies_{0};  // statistics only
};

}  // namespace karst::btrfs

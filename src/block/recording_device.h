// A device that keeps a log of everything that changes what is below it, and the crashes that log allows
// (CO-017).
//
// Each request is in the log twice over: when it was started and when it completed, for requests of several
// threads overlap. The fault model, for a crash at a point of the log:
//   - A write (discard, write_zeroes) is stable if it completed with FUA before the point, or completed
//     before the start of a flush that completed before the point. It is there.
//   - Any other that was started before the point may be there, or not, or torn: each of its blocks
//     (block_size() bytes) is the old or the new one.
//   - Those that are there took effect in the order of their start.
//   - Several devices with caches of their own may share one log: each has a lane of it, a part of one space
//   of offsets,
//     and a flush makes stable what is in its lane.
//   - Requests that failed never become stable.
//
// Marks are the test's own: "fsync of a returned". A crash point carries how many marks came before it, so a
// test knows what must be there.
//
// The data is kept in memory up to a limit and beyond it in an unlinked temporary file.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "block/device.h"
#include "block/overlay_device.h"
#include "core/function_ref.h"
#include "core/mutex.h"

namespace karst::block {

inline constexpr LockClass write_log_lock{"block.write-log"};

class WriteLog {
 public:
  struct Entry {
    enum class Kind : uint8_t { write, flush, discard, write_zeroes, mark };
    Kind kind = Kind::mark;
    bool fua = false;
    bool failed = false;
    unsigned lane = 0;
    uint64_t offset = 0, length = 0;  // in the space that the lanes share
    uint64_t started = 0;             // points of the log, from 1
    uint64_t completed = 0;           // 0: never
    uint64_t data = 0;                // of a write: where its bytes are kept
    std::string text;                 // of a mark
  };

  // The directory for the temporary file is $TMPDIR, or /tmp.
  explicit WriteLog(size_t memory_limit = 64 << 20);
  ~WriteLog();
  WriteLog(const WriteLog&) = delete;
  WriteLog& operator=(const WriteLog&) = delete;

  struct Lane {
    unsigned number = 0;
    uint64_t offset = 0;  // where the device's bytes begin
  };
  // Returns the number of the new entry, for complete().
  Result<size_t> start(const IoRequest& request, Lane lane);
  Result<size_t> start(const IoRequest& request) { return start(request, Lane{}); }
  void complete(size_t entry, bool failed);
  void mark(std::string text);

  // The log so far; to be looked at when nothing is being added.
  const std::vector<Entry>& entries() const { return entries_; }
  uint64_t end() const { return next_point_; }
  Result<void> read_data(const Entry& entry, uint64_t position, MutableBytes destination) const;
  uint64_t spilled_bytes() const { return spilled_; }

 private:
  Result<uint64_t> keep_locked(std::span<const iovec> buffers, uint64_t length) REQUIRES(mutex_);

  const size_t memory_limit_;
  mutable Mutex mutex_{write_log_lock};
  std::vector<Entry> entries_;
  uint64_t next_point_ = 1;
  std::vector<std::byte> memory_;
  uint64_t spilled_ = 0;
  int file_ = -1;
};

class RecordingDevice final : public Device {
 public:
  // Both must outlive this device.
  RecordingDevice(Device& below, WriteLog& log) : RecordingDevice(below, log, {}) {}
  RecordingDevice(Device& below, WriteLog& log, WriteLog::Lane lane)
      : below_(below), log_(log), lane_(lane) {}

  const std::string& name() const override { return below_.name(); }
  uint64_t size() const override { return below_.size(); }
  uint32_t block_size() const override { return below_.block_size(); }
  bool writable() const override { return below_.writable(); }
  std::string identity() const override { return below_.identity(); }
  void will_read(uint64_t offset, uint64_t length) override { below_.will_read(offset, length); }

 protected:
  Result<void> perform(const IoRequest& request) override;

 private:
  Device& below_;
  WriteLog& log_;
  const WriteLog::Lane lane_;
};

// Does the first requests of the log to a device that holds what the recorded one held at first: all that
// were started before the point, in order.
Result<void> replay(const WriteLog& log, uint64_t point, Device& target);

// How many crashes to try.
struct CrashPlan {
  uint64_t seed = 1;
  unsigned samples = 8;  // at each cut, beside the two below
  // At each cut: nothing unstable is there; all of it is there. Samples draw each block for itself, each
  // request for itself, or all up to one request (in turn).
  bool between_barriers = true;  // also cut at one sampled point between each two barriers
};

struct CrashState {
  Device& device;           // what was left; writes to it go nowhere
  uint64_t point;           // of the log
  size_t marks;             // entries of kind mark before the point
  std::string description;  // for messages; with the seed, enough to find it again
};

// Calls each(state) for the crashes of the plan; `base` holds what the recorded device held at first, and is
// not written. Cuts are just before each barrier (flush or FUA write) completes, where most is in doubt, and
// at the end. Stops at the first error `each` returns, and adds the state's description to it.
Result<void> for_each_crash(const WriteLog& log, Device& base, const CrashPlan& plan,
                            FunctionRef<Result<void>(const CrashState&)> each);

}  // namespace karst::block

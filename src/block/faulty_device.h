// A device that fails by a plan, over one that does not.
//
// Faults are found by the operation and its count ("the third write"), or by the range they touch. All
// randomness comes from the plan's seed. Time passes only in the hook, which the test gives.
#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "block/device.h"
#include "core/mutex.h"

namespace karst::block {

inline constexpr LockClass faulty_lock{"block.faulty", {.no_block = true}};

struct Fault {
  enum class Kind : uint8_t {
    error,        // the request fails with `error_kind` and does nothing
    flip_bits,    // reads: `bits` bits of the bytes in the range are wrong, the same ones each time
    torn_write,   // writes: some blocks are written and the others not, and success is reported
    lost_write,   // writes: nothing is written and success is reported
    misdirected,  // reads and writes: done `shift` bytes further on (modulo the size), success is reported
  };
  Kind kind = Kind::error;
  // Which requests: of this operation (any if empty), that touch [begin, end), from the nth such (from 1) …
  std::optional<IoOp> op{};
  uint64_t begin = 0, end = std::numeric_limits<uint64_t>::max();
  uint64_t nth = 1;
  uint64_t times = 1;  // … this often; `forever`: for good
  static constexpr uint64_t forever = std::numeric_limits<uint64_t>::max();

  const ErrorKind* error_kind = &err::io;
  unsigned bits = 1;
  uint64_t shift = 4096;
};

struct FaultPlan {
  uint64_t seed = 1;
  std::vector<Fault> faults{};
  // Called before each request, without locks: waits, counts, or runs what the test wants to be concurrent.
  std::function<void(const IoRequest&)> before{};
  // The completion hook: called after each request, without locks.
  std::function<Completion(const IoRequest&, Result<void>&)> after{};
};

class FaultyDevice final : public Device {
 public:
  // The device below must outlive this one.
  FaultyDevice(Device& below, FaultPlan plan);

  const std::string& name() const override { return below_.name(); }
  uint64_t size() const override { return below_.size(); }
  uint32_t block_size() const override { return below_.block_size(); }
  bool writable() const override { return below_.writable(); }
  std::string identity() const override { return below_.identity(); }
  void will_read(uint64_t offset, uint64_t length) override { below_.will_read(offset, length); }

  // From now on; counting starts anew.
  void set_faults(const std::vector<Fault>& faults);
  // Requests that met a fault, so that a test can tell when its plan had no effect.
  uint64_t faults_met() const;

 protected:
  Result<void> perform(const IoRequest& request) override;
  Completion on_completion(const IoRequest& request, Result<void>& outcome) override {
    return after_ ? after_(request, outcome) : Completion::done;
  }

 private:
  struct Armed {
    Fault fault;
    uint64_t seen = 0;
  };
  std::vector<Fault> faults_for(const IoRequest& request);
  Result<void> pass_on(const IoRequest& request, uint64_t shift);
  Result<void> write_torn(const IoRequest& request);
  void flip_bits(const IoRequest& request, const Fault& fault) const;

  Device& below_;
  const uint64_t seed_;
  const std::function<void(const IoRequest&)> before_;
  const std::function<Completion(const IoRequest&, Result<void>&)> after_;
  mutable Mutex mutex_{faulty_lock};
  std::vector<Armed> armed_ GUARDED_BY(mutex_);
  std::mt19937_64 random_ GUARDED_BY(mutex_);
  uint64_t faults_met_ GUARDED_BY(mutex_) = 0;
};

}  // namespace karst::block

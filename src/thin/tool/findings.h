// What a check finds, from any number of threads.
#pragma once
#include <cstdint>
#include <map>
#include <string>

#include "core/function_ref.h"
#include "core/mutex.h"
#include "core/result.h"

namespace karst::thin {

// Non-fatal: the pool can be used as it is, but space is lost or wasted. A warning is of what does no harm.
enum class Severity : uint8_t { fatal, non_fatal, warning };

struct FindingKind {
  const char* id;  // stable; karst-thin-check(1) lists them
  Severity severity;
};

namespace finding {
inline constexpr FindingKind superblock{"superblock", Severity::fatal};
inline constexpr FindingKind block{"block", Severity::fatal};  // not readable, or not what it should be
inline constexpr FindingKind block_role{"block-role", Severity::fatal};  // of two things at once
inline constexpr FindingKind node_range{"node-range", Severity::fatal};  // keys that the parent has elsewhere
inline constexpr FindingKind node_filling{"node-filling", Severity::non_fatal};
inline constexpr FindingKind devices{"devices", Severity::fatal};  // the two trees of devices
inline constexpr FindingKind mapping{"mapping", Severity::fatal};  // outside of the data device
inline constexpr FindingKind device{"device", Severity::fatal};    // mappings lost, or not as many as said
inline constexpr FindingKind metadata_snapshot{"metadata-snapshot", Severity::fatal};
inline constexpr FindingKind space_map{"space-map", Severity::fatal};    // contradicts itself
inline constexpr FindingKind free_count{"free-count", Severity::fatal};  // more are said to be free than are
// Fewer: thin_restore 0.9.0 writes that.
inline constexpr FindingKind free_count_low{"free-count-low", Severity::warning};
inline constexpr FindingKind count{"reference-count", Severity::fatal};  // lower than the number of users
inline constexpr FindingKind leak{"leak", Severity::non_fatal};          // higher
inline constexpr FindingKind more{"more-of-the-same", Severity::warning};
}  // namespace finding

struct Finding {
  const FindingKind& kind;
  std::string text;
};

class Findings {
 public:
  // `tell` gets the first `most` of each kind, one at a time; it outlives this.
  using Tell = FunctionRef<void(const Finding&)>;
  Findings(Tell tell, uint64_t most) : tell_(tell), most_(most) {}

  void add(const FindingKind& kind, std::string text);
  void add(const FindingKind& kind, const Error& error) { add(kind, error.message()); }
  // Tells how many were not told.
  void finish();
  uint64_t fatal() const { return count(Severity::fatal); }
  uint64_t non_fatal() const { return count(Severity::non_fatal); }
  uint64_t warnings() const { return count(Severity::warning); }
  uint64_t count(const FindingKind& kind) const;

 private:
  uint64_t count(Severity severity) const;
  static constexpr LockClass lock_class{"thin.findings"};
  mutable Mutex mutex_{lock_class};
  const Tell tell_ GUARDED_BY(mutex_);
  const uint64_t most_;
  struct Seen {
    Severity severity;
    uint64_t number = 0;
  };
  std::map<std::string_view, Seen> seen_ GUARDED_BY(mutex_);
};

}  // namespace karst::thin

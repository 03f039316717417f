// The lock-order validator (CO-001, CO-002), in debug builds only.
//
// Every lock belongs to a LockClass ("thin.pool.commit"): all commit locks of all pools are one node of a
// graph. When a thread takes B while it holds A, the edge A → B is kept for the rest of the run, with the
// stacks of both. An edge that closes a cycle is a possible deadlock and is reported when it first appears,
// before the thread waits, though no deadlock occurred: it is enough that the two orders were ever used, by
// any threads, at any time. Readers count as writers here, because a reader waits behind a queued writer.
//
// Besides locks, three things can be acquired:
//   - "may block" (device I/O, waiting for others): may_block(). Reported under a class that is no_block, as
//     is taking a lock that may itself be waited for (BT-089).
//   - "may run the cache shrinker" (allocation): may_shrink(). The shrinker holds ShrinkerScope while it
//     runs; so allocating under a lock that the shrinker takes is a cycle.
//   - anything else that one waits for and others complete: passes() where one waits, Hold around the work.
//
// A report goes to the handler; the default one prints it and aborts. A lock taken by try_lock adds no edge
// to itself (it cannot wait), but what is taken after it does. Memory is bounded: past max_edges edges
// new ones are not recorded, which is reported once.
//
// This is the one place with process-wide state: an order is a property of the whole run.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace karst {

// Which level of a nest of locks of one class: the height of a tree node, 0 for what does not nest.
enum class LockLevel : uint8_t {};

// May a thread hold several locks of one class, and in which order must it take them?
enum class LockNesting : uint8_t {
  never,
  levels_descend,    // each at a lower level than all of its class that are held: a tree from its root
  levels_ascend,     // each at a higher level
  addresses_ascend,  // lower address first; levels are apart from each other as classes are
  any,               // unchecked: for counted, lock-like things such as worker slots
};

struct LockTraits {
  LockNesting nesting = LockNesting::never;
  const char* rule = nullptr;  // the nesting rule in words; must be given unless nesting is never
  bool no_block = false;       // spin-type: nothing that may block is done while one is held
};

// What kind of lock it is. Each is a constant of static storage; two with the same name are the same class.
//   inline constexpr LockClass pool_commit_lock{"thin.pool.commit"};
//   inline constexpr LockClass node_lock{
//       "btrfs.node", {.nesting = LockNesting::levels_descend, .rule = "parent before child"}};
struct LockClass {
  constexpr explicit LockClass(const char* class_name, LockTraits class_traits = {})
      : name(class_name), traits(class_traits) {
    if (traits.nesting != LockNesting::never && !traits.rule) throw "a nesting rule must be written down";
  }
  const char* name;
  LockTraits traits;
};

namespace lock_order {

enum class Mode : uint8_t { exclusive, shared };

// A place in the source; as a default argument, that of the caller.
struct Site {
  const char* file;
  int line;
  const char* function;
  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE(),
                             const char* function = __builtin_FUNCTION()) {
    return {file, line, function};
  }
};

enum class ReportKind {
  cycle,         // taking this lock now closes a cycle of classes
  recursion,     // this thread has this very lock already, for reading or writing (UF-003)
  nesting,       // two locks of a class against its nesting rule
  blocking,      // may block under a no_block lock
  not_held,      // released or asserted, and this thread does not have it
  held_at_exit,  // a scope, task or thread ended with more or fewer locks than it began with (BT-100)
  destroyed,     // a lock ended while held
  full,          // the graph has reached its bound
};

struct Report {
  ReportKind kind;
  std::string text;                // complete, many lines, ends in a newline
  std::vector<std::string> chain;  // cycle only: class names from the lock being taken round to itself
};

inline constexpr size_t max_classes = 2048;  // counting each level of a class
inline constexpr size_t max_edges = 20000;   // about 300 bytes each

#ifdef KARST_DEBUG

inline constexpr bool enabled = true;

// Called without any lock of the validator held, and with validation of this thread suspended. May throw
// only for cycle, recursion, nesting and blocking reports: the lock is then not taken.
using Handler = std::function<void(const Report&)>;

// Returns the previous one. An empty handler is the default one.
Handler set_handler(Handler handler);

// Stacks of outer locks are usually sampled: taken at the first acquisitions by each thread from each
// source line and then every sixteenth time, and marked so in reports. Exact ones cost over a microsecond
// for each lock taken.
void set_exact_stacks(bool exact);

// For tests: drops all edges and what has been reported.
void forget_edges();

struct Statistics {
  size_t classes, edges;
  uint64_t slow_lookups;  // acquisitions that had to look at the shared graph
};
Statistics statistics();

// Locks (and Holds) of this thread.
size_t held_count();

void may_block(const char* what, Site site = Site::here());
void may_shrink(Site site = Site::here());
void passes(const LockClass& lock_class, Site site = Site::here());

class Hold {
 public:
  explicit Hold(const LockClass& lock_class, Site site = Site::here());
  ~Hold();
  Hold(const Hold&) = delete;
  Hold& operator=(const Hold&) = delete;

 private:
  const LockClass& class_;
};

class ShrinkerScope : public Hold {
 public:
  explicit ShrinkerScope(Site site = Site::here());
};

// At its end, this thread must hold exactly as many locks as at its beginning (BT-100).
class Balanced {
 public:
  explicit Balanced(const char* what, Site site = Site::here())
      : what_(what), site_(site), count_(held_count()) {}
  ~Balanced();
  Balanced(const Balanced&) = delete;
  Balanced& operator=(const Balanced&) = delete;

 private:
  const char* what_;
  Site site_;
  size_t count_;
};

// For tests of what happens when memory ends: this thread is not validated, which takes memory, while one
// exists. The locks it takes meanwhile it also releases meanwhile.
class Paused {
 public:
  Paused();
  ~Paused();
  Paused(const Paused&) = delete;
  Paused& operator=(const Paused&) = delete;

 private:
  bool* const suspended_;
};

// What a lock carries. Empty in release.
class Tag {
 public:
  constexpr explicit Tag(const LockClass& lock_class) : class_(&lock_class) {}
  // Before a lock is waited for; reports, and on return the caller waits.
  void before(const void* lock, LockLevel level, Site site) const;
  // Once it is taken.
  void taken(const void* lock, LockLevel level, Mode mode, Site site) const;
  void before_try(const void* lock, Site site) const;
  void released(const void* lock) const;
  // Around a condition variable's wait, which releases the lock and takes it again.
  LockLevel wait_begins(const void* lock, Site site) const;
  void wait_ended(const void* lock, LockLevel level, Site site) const;
  void assert_held(const void* lock, bool exclusive, Site site) const;
  void destroyed(const void* lock) const;

 private:
  const LockClass* class_;
};

#else

inline constexpr bool enabled = false;
inline void may_block(const char*) {}
inline void may_shrink() {}
inline void passes(const LockClass&) {}
struct Hold {
  explicit Hold(const LockClass&) {}
  ~Hold() {}
};
struct ShrinkerScope {
  ShrinkerScope() {}
  ~ShrinkerScope() {}
};
struct Balanced {
  explicit Balanced(const char*) {}
  ~Balanced() {}
};
struct Paused {
  Paused() {}
  ~Paused() {}
};
class Tag {
 public:
  constexpr explicit Tag(const LockClass&) {}
  void before(const void*, LockLevel, Site) const {}
  void taken(const void*, LockLevel, Mode, Site) const {}
  void before_try(const void*, Site) const {}
  void released(const void*) const {}
  LockLevel wait_begins(const void*, Site) const { return {}; }
  void wait_ended(const void*, LockLevel, Site) const {}
  void assert_held(const void*, bool, Site) const {}
  void destroyed(const void*) const {}
};

#endif

}  // namespace lock_order
}  // namespace karst

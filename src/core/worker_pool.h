// Threads that run tasks (BT-110).
//
// A pool has a fixed number of threads, made when it is created. Tasks belong to a TaskGroup, which bounds
// their lifetime: wait() returns, and the group ends, only when none of its tasks is running or waiting. A
// thread in wait() runs waiting tasks of its own group, so a task may start a group on the pool that it
// runs on, and wait for it, however small the pool is (CO-019). It never runs those of another group, which
// might need what it holds.
//
// The pool serves groups in turn, one task at a time, high-priority groups first. Threads wake as work
// comes: with Options::threshold above 1, another one only for each so many tasks that are to be done.
//
// What escapes from a task is an error of its group: std::bad_alloc becomes err::no_memory, any other
// exception err::task_exception.
//
// Lock order: the pool's own lock is innermost and held only around its lists. A task runs, and a wait
// waits, "holding" Options::task_class; so waiting for tasks that need a lock the waiter holds is reported.
#pragma once
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "core/cancel.h"
#include "core/mutex.h"
#include "core/result.h"

namespace karst {

namespace err {
extern const ErrorKind task_exception;  // EIO: an exception that should not have left its library
}

// Tasks of pools that do not say otherwise. Pools whose tasks wait for each other's need classes of their
// own.
inline constexpr LockClass pool_task_class{
    "worker-pool.task", {.nesting = LockNesting::any, .rule = "a task may wait for tasks it started"}};

class TaskGroup;

class WorkerPool {
 public:
  struct Options {
    std::string name = "worker";  // threads are called name-0, name-1 …
    unsigned threads = 0;         // 0: as many as the machine runs at once
    unsigned threshold = 1;       // tasks to be done for each thread that is awake
    const LockClass* task_class = &pool_task_class;
  };
  static Result<std::unique_ptr<WorkerPool>> create(Options options);
  static Result<std::unique_ptr<WorkerPool>> create() { return create(Options{}); }
  ~WorkerPool();  // all groups have ended (verified)
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  unsigned thread_count() const { return options_.threads; }

  // To explain stalls (CO-020); true when taken.
  struct Status {
    size_t waiting, running, awake;
  };
  Status status() const;

 private:
  friend class TaskGroup;
  explicit WorkerPool(Options options) : options_(std::move(options)) {}
  // The lock of a group's fields is its pool's, which the analysis cannot know to be ours.
  void work() NO_THREAD_SAFETY_ANALYSIS;
  void wake_locked() REQUIRES(mutex_);
  size_t threads_wanted_locked() const REQUIRES(mutex_);

  const Options options_;             // threads is the actual number
  std::vector<std::thread> threads_;  // used by create() and the destructor only

  static constexpr LockClass lock_class{"worker-pool"};
  mutable Mutex mutex_{lock_class};
  CondVar woken_;
  std::list<TaskGroup*> ready_high_ GUARDED_BY(mutex_);  // groups with tasks that may start now
  std::list<TaskGroup*> ready_ GUARDED_BY(mutex_);
  size_t groups_ GUARDED_BY(mutex_) = 0;
  size_t waiting_ GUARDED_BY(mutex_) = 0;  // tasks of all groups not begun; more than 0 only if awake_ is
  size_t running_ GUARDED_BY(mutex_) = 0;  // tasks begun by our threads, not by waiters
  size_t awake_ GUARDED_BY(mutex_) = 0;    // threads looking for work or running it, or told to
  size_t wakes_ GUARDED_BY(mutex_) = 0;    // of those, told to and not yet
  bool stopping_ GUARDED_BY(mutex_) = false;
};

class TaskGroup {
 public:
  using Task = std::move_only_function<Result<void>()>;
  enum class Priority { normal, high };
  struct Options {
    CancelToken cancel;           // drops tasks that have not begun
    bool cancel_on_error = true;  // the first error does so too
    Priority priority = Priority::normal;
    unsigned max_parallel = ~0u;  // tasks of this group at once
  };
  TaskGroup(WorkerPool& pool, Options options);
  explicit TaskGroup(WorkerPool& pool) : TaskGroup(pool, Options{}) {}
  ~TaskGroup();  // drops what has not begun, waits for what has
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // From any thread, also from the group's own tasks. Throws std::bad_alloc, having done nothing.
  void run(Task task);

  // Until no task is left, running some of them; then the first error that any task since the group's
  // creation ended with, or err::cancelled if tasks were dropped, or success.
  Result<void> wait();

  void cancel() { cancel_.cancel(); }
  // For the tasks: cancelled with the group.
  CancelToken token() const { return cancel_.token(); }

 private:
  friend class WorkerPool;
  struct Outcome {
    bool dropped = false, no_memory = false;
    std::optional<Error> error;
  };
  Outcome perform(Task task);
  void end_locked(Outcome outcome) REQUIRES(pool_.mutex_);
  Task take_locked() REQUIRES(pool_.mutex_);
  bool may_begin_locked() const REQUIRES(pool_.mutex_) {
    return !waiting_.empty() && running_ < max_parallel_;
  }
  void update_ready_locked() REQUIRES(pool_.mutex_);
  void run_until_done();

  WorkerPool& pool_;
  const CancelSource cancel_;
  const bool cancel_on_error_;
  const Priority priority_;
  const unsigned max_parallel_;

  CondVar changed_;  // a task was added or ended
  std::deque<Task> waiting_ GUARDED_BY(pool_.mutex_);
  size_t running_ GUARDED_BY(pool_.mutex_) = 0;
  std::list<TaskGroup*> link_ GUARDED_BY(pool_.mutex_);  // our place in the pool's list while not in it
  bool in_ready_ GUARDED_BY(pool_.mutex_) = false;
  Outcome first_ GUARDED_BY(pool_.mutex_);
};

}  // namespace karst

#include "core/worker_pool.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <system_error>

#include "core/assert.h"

namespace karst {
namespace err {
const ErrorKind task_exception{"task-exception", nullptr, EIO};
}

namespace {

// Threads of ours take no signals, except those that a fault raises in the thread itself.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPROF})
      sigdelset(&all, fault);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

Result<std::unique_ptr<WorkerPool>> WorkerPool::create(Options options) {
  if (options.threads == 0) options.threads = std::max(1u, std::thread::hardware_concurrency());
  unsigned count = options.threads;
  options.threshold = std::max(1u, options.threshold);
  std::unique_ptr<WorkerPool> pool(new WorkerPool(std::move(options)));
  pool->threads_.reserve(count);
  {
    MutexLock lock(pool->mutex_);
    pool->awake_ = count;  // each looks for work once, and finds none
  }
  SignalsBlocked blocked;
  for (unsigned i = 0; i < count; ++i) {
    try {
      pool->threads_.emplace_back([pool = pool.get()] { pool->work(); });
    } catch (const std::system_error& error) {
      return Error::from_errno(error.code().value(),
                               fmt::format("cannot start thread {} of {}", i + 1, count));
    }
    std::string name = fmt::format("{:.11}-{}", pool->options_.name, i).substr(0, 15);
    pthread_setname_np(pool->threads_.back().native_handle(), name.c_str());
  }
  return pool;
}

WorkerPool::~WorkerPool() {
  {
    MutexLock lock(mutex_);
    VERIFY(groups_ == 0);
    stopping_ = true;
    woken_.notify_all();
  }
  for (std::thread& thread : threads_) thread.join();
}

WorkerPool::Status WorkerPool::status() const {
  MutexLock lock(mutex_);
  return {waiting_, running_, awake_};
}

size_t WorkerPool::threads_wanted_locked() const {
  size_t tasks = running_ + waiting_;
  return std::min<size_t>((tasks + options_.threshold - 1) / options_.threshold, options_.threads);
}

void WorkerPool::wake_locked() {
  if (awake_ >= threads_wanted_locked()) return;
  ++awake_;
  ++wakes_;
  woken_.notify_one();
}

// A thread goes to sleep when nothing may begin, or when more are awake than the work wants; the last one
// awake never does the second, since any work wants one.
void WorkerPool::work() {
  for (;;) {
    TaskGroup* group = nullptr;
    TaskGroup::Task task;
    {
      MutexLock lock(mutex_);
      while ((ready_.empty() && ready_high_.empty()) || awake_ > threads_wanted_locked()) {
        if (stopping_) return;
        --awake_;
        while (wakes_ == 0 && !stopping_) woken_.wait(mutex_);
        if (wakes_ > 0)
          --wakes_;
        else
          ++awake_;
      }
      group = ready_high_.empty() ? ready_.front() : ready_high_.front();
      task = group->take_locked();
      ++running_;
    }
    TaskGroup::Outcome outcome = group->perform(std::move(task));
    MutexLock lock(mutex_);
    --running_;
    group->end_locked(std::move(outcome));  // the group may be gone once the lock is
  }
}

TaskGroup::TaskGroup(WorkerPool& pool, Options options)
    : pool_(pool),
      cancel_(std::move(options.cancel)),
      cancel_on_error_(options.cancel_on_error),
      priority_(options.priority),
      max_parallel_(std::max(1u, options.max_parallel)),
      link_{this} {
  MutexLock lock(pool_.mutex_);
  ++pool_.groups_;
}

TaskGroup::~TaskGroup() {
  cancel();
  run_until_done();
  MutexLock lock(pool_.mutex_);
  --pool_.groups_;
}

void TaskGroup::run(Task task) {
  MutexLock lock(pool_.mutex_);
  waiting_.push_back(std::move(task));
  ++pool_.waiting_;
  update_ready_locked();
  if (in_ready_) pool_.wake_locked();
  changed_.notify_one();
}

// Keeps the group in the pool's list exactly while a task of it may begin. Moving a list node allocates
// nothing.
void TaskGroup::update_ready_locked() {
  auto& ready = priority_ == Priority::high ? pool_.ready_high_ : pool_.ready_;
  if (may_begin_locked() && !in_ready_) {
    ready.splice(ready.end(), link_);
    in_ready_ = true;
  } else if (!may_begin_locked() && in_ready_) {
    link_.splice(link_.end(), ready, std::find(ready.begin(), ready.end(), this));
    in_ready_ = false;
  }
}

// The next task, which from here on counts as running. Moves the group to the end of the list.
TaskGroup::Task TaskGroup::take_locked() {
  Task task = std::move(waiting_.front());
  waiting_.pop_front();
  --pool_.waiting_;
  ++running_;
  auto& ready = priority_ == Priority::high ? pool_.ready_high_ : pool_.ready_;
  if (in_ready_ && ready.front() == this) ready.splice(ready.end(), ready, ready.begin());
  update_ready_locked();
  return task;
}

// The task is destroyed before it counts as ended: what it refers to need not outlive the group's wait.
TaskGroup::Outcome TaskGroup::perform(Task task) {
  Outcome outcome;
  if (cancel_.cancelled()) {
    outcome.dropped = true;
    return outcome;
  }
  lock_order::Hold working(*pool_.options_.task_class);
  lock_order::Balanced balanced("task");
  try {
    Task mine = std::move(task);
    auto result = mine();
    if (!result) outcome.error = std::move(result).error();
  } catch (const std::bad_alloc&) {
    outcome.no_memory = true;  // made into an Error when somebody asks, which may need memory
  } catch (const std::exception& exception) {
    try {
      outcome.error =
          Error::make(err::task_exception, "a task ended with an exception: {}", exception.what());
    } catch (const std::bad_alloc&) {
      outcome.no_memory = true;
    }
  }
  return outcome;
}

void TaskGroup::end_locked(Outcome outcome) {
  --running_;
  bool failed = outcome.error || outcome.no_memory;
  bool had_failed = first_.error || first_.no_memory;
  if (failed && cancel_on_error_) cancel_.cancel();
  first_.dropped |= outcome.dropped;
  if (failed && !had_failed) {
    first_.error = std::move(outcome.error);
    first_.no_memory = outcome.no_memory;
  }
  update_ready_locked();
  if (in_ready_) pool_.wake_locked();
  changed_.notify_all();
}

void TaskGroup::run_until_done() {
  lock_order::passes(*pool_.options_.task_class);
  for (;;) {
    Task task;
    {
      MutexLock lock(pool_.mutex_);
      while (!may_begin_locked() && running_ > 0) changed_.wait(pool_.mutex_);
      if (!may_begin_locked()) return;
      task = take_locked();
    }
    Outcome outcome = perform(std::move(task));
    MutexLock lock(pool_.mutex_);
    end_locked(std::move(outcome));
  }
}

Result<void> TaskGroup::wait() {
  run_until_done();
  MutexLock lock(pool_.mutex_);
  if (first_.error) return first_.error->clone();
  if (first_.no_memory) return Error(err::no_memory, "a task ran out of memory");
  if (first_.dropped) return Error(err::cancelled, "cancelled before all tasks had begun");
  return {};
}

}  // namespace karst

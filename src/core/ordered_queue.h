// Work done in parallel whose results come out in the order in which it went in (BT-110).
//
//   OrderedQueue<Block> queue(pool, {.items = 64, .weight = 16 << 20});
//   producer: TRY(queue.submit(size, [=] { return compress(extent); }));  …  queue.finish();
//   consumer: while (auto block = TRY(queue.next())) TRY(write(*block));
//
// At most so many items, and so much weight (bytes, say), are between submit() and next(); an item heavier
// than the whole limit goes alone. submit() waits for room. One thread may be both: it asks has_room() and
// consumes while there is none.
//
// Ending, in any state: the producer's finish(), after which next() gives what is left, and then the end or
// the producer's error; the consumer's close(), after which submit() and next() fail with err::cancelled;
// and the destructor, which closes and waits for what is running (other threads must have left by then).
// The consumer runs the item it waits for if no thread has begun it, so a busy pool cannot block it.
#pragma once
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "core/worker_pool.h"

namespace karst {

// What does not depend on the type of the results.
class OrderedQueueBase {
 public:
  struct Limits {
    size_t items = 64;
    uint64_t weight = uint64_t{64} << 20;
  };
  // Whether submit() with this weight would not wait.
  bool has_room(uint64_t weight) const;
  // No more items; the error, if there is one, comes out after the last of them.
  void finish(Result<void> end = {});
  void close();
  CancelToken token() const { return group_.token(); }

 protected:
  struct Slot {
    explicit Slot(uint64_t slot_weight) : weight(slot_weight) {}
    virtual ~Slot() = default;
    virtual void perform() = 0;          // runs the work and keeps its result; may throw
    virtual void fail(Error error) = 0;  // makes this the result
    const uint64_t weight;
    enum class State { waiting, running, done } state = State::waiting;  // guarded by the queue's lock
    bool no_memory = false;                                              // written while running
  };
  OrderedQueueBase(WorkerPool& pool, Limits limits, TaskGroup::Options options);
  ~OrderedQueueBase() = default;

  Result<void> submit_slot(std::shared_ptr<Slot> slot);
  // The oldest, done; nullptr at the end.
  Result<std::shared_ptr<Slot>> next_slot();

 private:
  bool has_room_locked(uint64_t weight) const REQUIRES(mutex_);
  bool begin(Slot& slot);                // false if another has begun it, or the queue is closed
  std::shared_ptr<Slot> begin_oldest();  // for a task of the group; nullptr if nothing waits
  void perform(Slot& slot);

  const Limits limits_;
  static constexpr LockClass lock_class{"ordered-queue"};
  mutable Mutex mutex_{lock_class};
  CondVar changed_;
  std::deque<std::shared_ptr<Slot>> slots_ GUARDED_BY(mutex_);
  uint64_t weight_ GUARDED_BY(mutex_) = 0;
  size_t waiting_ GUARDED_BY(mutex_) = 0;  // slots not begun
  // Tasks of the group not begun. They are for whatever waits and not for a slot each: a consumer that does
  // the work itself, because the pool is busy, would leave one behind for every item.
  size_t tasks_ GUARDED_BY(mutex_) = 0;
  bool finished_ GUARDED_BY(mutex_) = false;
  bool closed_ GUARDED_BY(mutex_) = false;
  std::optional<Error> end_ GUARDED_BY(mutex_);
  TaskGroup group_;  // last, so that its tasks end before the rest does
};

template <typename T>
class OrderedQueue : public OrderedQueueBase {
 public:
  using Work = std::move_only_function<Result<T>()>;
  // Work is dropped, and gives err::cancelled, once options.cancel is; an error of one item leaves the
  // others alone.
  OrderedQueue(WorkerPool& pool, Limits limits, TaskGroup::Options options)
      : OrderedQueueBase(pool, limits, std::move(options)) {}
  OrderedQueue(WorkerPool& pool, Limits limits) : OrderedQueue(pool, limits, TaskGroup::Options{}) {}
  ~OrderedQueue() { close(); }

  Result<void> submit(uint64_t weight, Work work) {
    return submit_slot(std::make_shared<Item>(weight, std::move(work)));
  }

  // The next result in order, or its error; nothing after the last of a finished queue. Waits.
  Result<std::optional<T>> next() {
    std::shared_ptr<Slot> slot = TRY(next_slot());
    if (!slot) return std::optional<T>();
    Result<T>& result = *static_cast<Item&>(*slot).result;
    if (!result) return std::move(result).error();
    return std::optional<T>(std::move(result).value());
  }

 private:
  struct Item : Slot {
    Item(uint64_t item_weight, Work item_work) : Slot(item_weight), work(std::move(item_work)) {}
    void perform() override {
      Work mine = std::move(work);  // ends before the result is seen
      result.emplace(mine());
    }
    void fail(Error error) override { result.emplace(std::move(error)); }
    Work work;
    std::optional<Result<T>> result;
  };
};

}  // namespace karst

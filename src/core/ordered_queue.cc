#include "core/ordered_queue.h"

#include <algorithm>
#include <exception>
#include <new>

#include "core/assert.h"

namespace karst {
namespace {

TaskGroup::Options independent(TaskGroup::Options options) {
  options.cancel_on_error = false;
  return options;
}

}  // namespace

OrderedQueueBase::OrderedQueueBase(WorkerPool& pool, Limits limits, TaskGroup::Options options)
    : limits_(limits), group_(pool, independent(std::move(options))) {}

bool OrderedQueueBase::has_room_locked(uint64_t weight) const {
  if (slots_.empty() || closed_) return true;
  return slots_.size() < limits_.items && weight_ <= limits_.weight && weight <= limits_.weight - weight_;
}

bool OrderedQueueBase::has_room(uint64_t weight) const {
  MutexLock lock(mutex_);
  return has_room_locked(weight);
}

Result<void> OrderedQueueBase::submit_slot(std::shared_ptr<Slot> slot) {
  {
    MutexLock lock(mutex_);
    VERIFY(!finished_);
    while (!has_room_locked(slot->weight)) changed_.wait(mutex_);
    if (closed_) return Error(err::cancelled, "the queue's consumer has stopped");
    slots_.push_back(slot);
    weight_ += slot->weight;
    ++waiting_;
    changed_.notify_all();
    if (tasks_ >= waiting_) return {};
    ++tasks_;
  }
  try {
    group_.run([this]() -> Result<void> {
      if (const std::shared_ptr<Slot> oldest = begin_oldest()) perform(*oldest);
      return {};
    });
  } catch (const std::bad_alloc&) {
    // It is in the queue all the same, and the consumer runs it.
    MutexLock lock(mutex_);
    --tasks_;
  }
  return {};
}

std::shared_ptr<OrderedQueueBase::Slot> OrderedQueueBase::begin_oldest() {
  MutexLock lock(mutex_);
  --tasks_;
  if (closed_) return nullptr;
  const auto oldest =
      std::ranges::find(slots_, Slot::State::waiting, [](const auto& slot) { return slot->state; });
  if (oldest == slots_.end()) return nullptr;
  (*oldest)->state = Slot::State::running;
  --waiting_;
  return *oldest;
}

bool OrderedQueueBase::begin(Slot& slot) {
  MutexLock lock(mutex_);
  if (slot.state != Slot::State::waiting || closed_) return false;
  slot.state = Slot::State::running;
  --waiting_;
  return true;
}

void OrderedQueueBase::perform(Slot& slot) {
  try {
    if (group_.token().cancelled())
      slot.fail(Error(err::cancelled, "cancelled"));
    else
      slot.perform();
  } catch (const std::bad_alloc&) {
    slot.no_memory = true;
  } catch (const std::exception& exception) {
    try {
      slot.fail(Error::make(err::task_exception, "a task ended with an exception: {}", exception.what()));
    } catch (const std::bad_alloc&) {
      slot.no_memory = true;
    }
  }
  MutexLock lock(mutex_);
  slot.state = Slot::State::done;
  changed_.notify_all();
}

Result<std::shared_ptr<OrderedQueueBase::Slot>> OrderedQueueBase::next_slot() {
  std::shared_ptr<Slot> slot;
  for (;;) {
    {
      MutexLock lock(mutex_);
      while (!closed_ && (slots_.empty() ? !finished_ : slots_.front()->state == Slot::State::running))
        changed_.wait(mutex_);
      if (closed_) return Error(err::cancelled, "the queue is closed");
      if (slots_.empty()) {
        if (end_) return end_->clone();
        return std::shared_ptr<Slot>();
      }
      slot = slots_.front();
      if (slot->state == Slot::State::done) {
        slots_.pop_front();
        weight_ -= slot->weight;
        changed_.notify_all();
        break;
      }
    }
    if (begin(*slot)) perform(*slot);
  }
  if (slot->no_memory) slot->fail(Error(err::no_memory, "a task ran out of memory"));
  return slot;
}

void OrderedQueueBase::finish(Result<void> end) {
  MutexLock lock(mutex_);
  finished_ = true;
  if (!end) end_ = std::move(end).error();
  changed_.notify_all();
}

void OrderedQueueBase::close() {
  std::deque<std::shared_ptr<Slot>> dropped;  // ends outside the lock
  {
    MutexLock lock(mutex_);
    closed_ = true;
    dropped.swap(slots_);
    weight_ = 0;
    changed_.notify_all();
  }
  group_.cancel();
}

}  // namespace karst

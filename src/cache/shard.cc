#include "cache/shard.h"

#include "cache/cache.h"

namespace karst::cache {
namespace {

constexpr size_t small_share = 10;  // the small queue is held to a tenth of the bytes

}  // namespace

void FolioQueue::push(Folio& folio) {
  folio.queue_before = nullptr;
  folio.queue_after = head_;
  (head_ != nullptr ? head_->queue_before : tail_) = &folio;
  head_ = &folio;
  ++count_;
  bytes_ += folio.size;
}

void FolioQueue::remove(Folio& folio) {
  (folio.queue_before != nullptr ? folio.queue_before->queue_after : head_) = folio.queue_after;
  (folio.queue_after != nullptr ? folio.queue_after->queue_before : tail_) = folio.queue_before;
  folio.queue_before = folio.queue_after = nullptr;
  --count_;
  bytes_ -= folio.size;
}

Shard::Shard(size_t ghosts) : mutex(cache_shard_lock), buckets_(64), ghosts_(ghosts) {}

void Shard::insert_locked(Folio& folio) {
  if (count_ == buckets_.size()) grow_locked();
  // Whatever allocates comes before the first change.
  Folio*& newest = objects_[static_cast<uint64_t>(folio.key.object)];
  Folio*& bucket = buckets_[folio.hash & (buckets_.size() - 1)];
  folio.hash_next = bucket;
  bucket = &folio;
  folio.object_before = nullptr;
  folio.object_after = newest;
  if (newest != nullptr) newest->object_before = &folio;
  newest = &folio;
  ++count_;
}

void Shard::make_ready_locked(Folio& folio) {
  folio.ready = true;
  ++counts.insertions;
  enqueue_locked(folio, ghosts_.forget(folio.hash) ? Folio::Queue::main : Folio::Queue::small);
}

void Shard::remove_locked(Folio& folio) {
  Folio** link = &buckets_[folio.hash & (buckets_.size() - 1)];
  while (*link != &folio) link = &(*link)->hash_next;
  *link = folio.hash_next;
  folio.hash_next = nullptr;
  if (folio.object_after != nullptr) folio.object_after->object_before = folio.object_before;
  if (folio.object_before != nullptr) {
    folio.object_before->object_after = folio.object_after;
  } else if (folio.object_after != nullptr) {
    objects_[static_cast<uint64_t>(folio.key.object)] = folio.object_after;
  } else {
    objects_.erase(static_cast<uint64_t>(folio.key.object));
  }
  folio.object_before = folio.object_after = nullptr;
  if (folio.queue != Folio::Queue::none) queue_of_locked(folio.queue).remove(folio);
  folio.queue = Folio::Queue::none;
  --count_;
}

void Shard::enqueue_locked(Folio& folio, Folio::Queue queue) {
  if (folio.queue != Folio::Queue::none) queue_of_locked(folio.queue).remove(folio);
  folio.queue = queue;
  queue_of_locked(queue).push(folio);
}

size_t Shard::evict_locked(size_t bytes, size_t& steps, Victims& victims, size_t& victim_count) {
  size_t freed = 0;
  while (freed < bytes && steps > 0 && victim_count < victims.size()) {
    const size_t all = small_.bytes() + main_.bytes();
    const bool from_small = main_.count() == 0 || small_.bytes() * small_share > all;
    Folio* folio = from_small ? small_.oldest() : main_.oldest();
    if (folio == nullptr) break;
    --steps;
    if (from_small && folio->frequency > 1) {
      folio->frequency = 0;
      enqueue_locked(*folio, Folio::Queue::main);
      continue;
    }
    if (!from_small && folio->frequency > 0) {
      --folio->frequency;
      enqueue_locked(*folio, Folio::Queue::main);
      continue;
    }
    // With only the table's reference left, nobody can gain another without the lock that we hold.
    if (folio->references.value() != 1) {
      enqueue_locked(*folio, Folio::Queue::main);  // pinned or dirty, so in use
      continue;
    }
    if (from_small) ghosts_.remember(folio->hash);
    remove_locked(*folio);
    VERIFY(folio->references.release());
    ++counts.evictions;
    freed += folio->size;
    victims[victim_count++] = folio;
  }
  return freed;
}

Folio* Shard::take_object_locked(ObjectId object, uint64_t from, uint64_t to, Folio* chain) {
  const auto newest = objects_.find(static_cast<uint64_t>(object));
  if (newest == objects_.end()) return chain;
  for (Folio* next = newest->second; next != nullptr;) {
    Folio& folio = *std::exchange(next, next->object_after);
    if (folio.key.index < from || folio.key.index >= to) continue;
    remove_locked(folio);
    folio.detached.store(true, std::memory_order_release);
    folio.hash_next = std::exchange(chain, &folio);
  }
  return chain;
}

Folio* Shard::take_all_locked(Folio* chain) {
  while (!objects_.empty())
    chain = take_object_locked(static_cast<ObjectId>(objects_.begin()->first), 0, UINT64_MAX, chain);
  return chain;
}

void Shard::grow_locked() {
  std::vector<Folio*> larger(buckets_.size() * 2);
  for (Folio* first : buckets_)
    while (Folio* folio = first) {
      first = folio->hash_next;
      Folio*& bucket = larger[folio->hash & (larger.size() - 1)];
      folio->hash_next = bucket;
      bucket = folio;
    }
  buckets_ = std::move(larger);
}

}  // namespace karst::cache

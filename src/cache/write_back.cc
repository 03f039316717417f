// Dirty folios and how they become clean. A dirty folio is in its object's map, which holds a reference, so
// that it cannot be evicted; one that is being written is in the map still, and in a batch:
//
//   clean ─mark_dirty─► dirty ─taken by write_back─► writing ─ok─► clean
//                         ▲                            │ │
//                         └────────── error ───────────┘ └─mark_dirty─► writing, dirty again ─► dirty
#include <algorithm>
#include <new>

#include "cache/cache_state.h"

namespace karst::cache {
namespace {

// Of one call of the owner.
constexpr size_t batch_folios = 256;
constexpr size_t batch_bytes = 8 << 20;

}  // namespace

ObjectId Cache::new_object(ObjectOwner& owner, WriteBackWhen when) {
  const ObjectId id = new_object();
  ExclusiveLock lock(state_->objects_mutex);
  state_->objects.emplace(static_cast<uint64_t>(id), std::make_shared<CachedObject>(id, owner, when));
  return id;
}

std::shared_ptr<CachedObject> Cache::object_of(ObjectId id) const {
  SharedLock lock(state_->objects_mutex);
  const auto found = state_->objects.find(static_cast<uint64_t>(id));
  return found == state_->objects.end() ? nullptr : found->second;
}

void Cache::remove_object(ObjectId id) {
  invalidate(id);
  const auto object = object_of(id);
  if (!object) return;
  {
    MutexLock lock(object->mutex);
    object->removed = true;  // no write-back starts from here on
    while (object->in_flight != nullptr) object->written.wait(object->mutex);
  }
  drop_dirty(*object, 0, UINT64_MAX);
  ExclusiveLock lock(state_->objects_mutex);
  state_->objects.erase(static_cast<uint64_t>(id));
}

bool Cache::mark_dirty(const FolioRef& folio) {
  Folio& marked = *folio.folio_;
  // A step that writes and not a load: whoever clears the flag after us sees the bytes we wrote before.
  bool already = true;
  if (marked.dirty.compare_exchange_strong(already, true, std::memory_order_acq_rel)) return true;
  const auto object = object_of(marked.key.object);
  if (!object) return false;
  FolioRef replaced;  // destroyed after the lock is released
  bool crossed = false;
  {
    MutexLock lock(object->mutex);
    if (marked.detached.load(std::memory_order_acquire) || object->removed) return false;
    FolioRef& entry = object->dirty[marked.key.index];  // what may throw comes before the flag is set
    marked.dirty.store(true, std::memory_order_release);
    if (entry == folio) return true;  // it is being written and stays for another round, or just was marked
    // An entry of another folio is that of a detached one, which invalidate() is about to drop.
    if (entry) state_->dirty_bytes.fetch_sub(entry.size(), std::memory_order_relaxed);
    replaced = std::exchange(entry, folio);
    const size_t before = state_->dirty_bytes.fetch_add(marked.size, std::memory_order_relaxed);
    crossed = before <= state_->dirty_limit() && before + marked.size > state_->dirty_limit();
    requeue_locked(*object);
  }
  if (crossed && state_->options.on_pressure) state_->options.on_pressure();
  return true;
}

// Forgets the dirty state of folios that have left the table.
void Cache::drop_dirty(CachedObject& object, uint64_t from, uint64_t to) {
  std::map<uint64_t, FolioRef> dropped;  // destroyed after the lock is released
  MutexLock lock(object.mutex);
  for (auto next = object.dirty.lower_bound(from); next != object.dirty.end() && next->first < to;) {
    const auto entry = next++;
    Folio& folio = *entry->second.folio_;
    if (!folio.detached.load(std::memory_order_acquire) && !object.removed) continue;
    state_->dirty_bytes.fetch_sub(folio.size, std::memory_order_relaxed);
    folio.dirty.store(false, std::memory_order_release);
    dropped.insert(object.dirty.extract(entry));
  }
  requeue_locked(object);
}

// Keeps the object in the queue exactly while something of it is dirty.
void Cache::requeue_locked(CachedObject& object) {
  object.mutex.assert_held();
  if (object.queued == !object.dirty.empty()) return;
  object.queued = !object.queued;
  MutexLock lock(state_->dirty_queue_mutex);
  std::list<CachedObject*>& queue = state_->dirty_queue;
  if (object.queued)
    queue.splice(queue.end(), object.link);
  else
    object.link.splice(object.link.end(), queue, object.place);
}

Result<void> Cache::write_back(ObjectId id, uint64_t from, uint64_t to) {
  const auto object = object_of(id);
  if (!object) return {};
  Result<void> written = write_back_object(*object, from, to);
  MutexLock lock(object->mutex);
  std::optional<Error> earlier = std::exchange(object->error, std::nullopt);
  return earlier ? Result<void>(*std::move(earlier)) : std::move(written);
}

bool CachedObject::being_written_locked(uint64_t index) const {
  for (const WriteBatch* batch = in_flight; batch != nullptr; batch = batch->next)
    if (std::ranges::binary_search(batch->folios, index, {},
                                   [](const FolioRef& folio) { return folio.key().index; }))
      return true;
  return false;
}

// One pass over the range in index order. What is marked again behind the pass is left for the next one, so
// that it ends whatever others do.
Result<void> Cache::write_back_object(CachedObject& object, uint64_t from, uint64_t to) {
  WriteBatch batch;
  batch.folios.reserve(batch_folios);
  for (uint64_t next = from; next < to;) {
    batch.folios.clear();
    {
      MutexLock lock(object.mutex);
      size_t bytes = 0;
      auto entry = object.dirty.lower_bound(next);
      while (entry != object.dirty.end() && entry->first < to && batch.folios.size() < batch_folios &&
             bytes < batch_bytes) {
        if (object.removed) return {};
        if (object.being_written_locked(entry->first)) {
          if (!batch.folios.empty()) break;
          // Another's write-back may have begun before the latest mark: wait, and look at it again.
          const uint64_t index = entry->first;
          object.written.wait(object.mutex);
          entry = object.dirty.lower_bound(index);
          continue;
        }
        Folio& folio = *entry->second.folio_;
        folio.dirty.exchange(false, std::memory_order_acq_rel);
        batch.folios.push_back(entry->second);
        bytes += folio.size;
        next = entry->first + 1;
        ++entry;
      }
      if (batch.folios.empty()) return {};
      batch.next = std::exchange(object.in_flight, &batch);
    }
    lock_order::may_block("writing back dirty folios");
    Result<void> written;
    try {
      written = object.owner.write_back(object.id, batch.folios);
    } catch (const std::bad_alloc&) {
      finish_batch(object, batch, false);
      return Error(err::no_memory, "no memory while writing back dirty folios");
    } catch (...) {
      finish_batch(object, batch, false);
      throw;
    }
    finish_batch(object, batch, written.has_value());
    TRY(std::move(written));
  }
  return {};
}

// The folios of a batch that were written and not marked again are clean; those that failed are dirty again.
// Allocates nothing.
void Cache::finish_batch(CachedObject& object, WriteBatch& batch, bool written) {
  MutexLock lock(object.mutex);
  WriteBatch** link = &object.in_flight;
  while (*link != &batch) link = &(*link)->next;
  *link = batch.next;
  for (const FolioRef& folio : batch.folios) {
    const auto entry = object.dirty.find(folio.key().index);
    if (entry == object.dirty.end() || !(entry->second == folio)) continue;  // invalidated meanwhile
    Folio& done = *folio.folio_;
    if (!written) done.dirty.store(true, std::memory_order_release);
    if (done.dirty.load(std::memory_order_acquire)) continue;
    state_->dirty_bytes.fetch_sub(done.size, std::memory_order_relaxed);
    object.dirty.erase(entry);  // the batch still refers to the folio
  }
  requeue_locked(object);
  object.written.notify_all();
}

bool Cache::over_dirty_limit() const {
  return state_->dirty_bytes.load(std::memory_order_relaxed) > state_->dirty_limit();
}

Result<void> Cache::balance_dirty() {
  while (over_dirty_limit()) {
    std::shared_ptr<CachedObject> oldest;
    {
      MutexLock lock(state_->dirty_queue_mutex);
      if (state_->dirty_queue.empty()) break;
      // To the end, in case it is dirty again by the time it is written.
      state_->dirty_queue.splice(state_->dirty_queue.end(), state_->dirty_queue, state_->dirty_queue.begin());
      oldest = state_->dirty_queue.back()->shared_from_this();
    }
    TRY(write_back_under_pressure(*oldest));
  }
  return {};
}

// An error is also kept in the object, for who asks it to write back.
Result<void> Cache::write_back_under_pressure(CachedObject& object) {
  Result<void> written = write_back_object(object, 0, UINT64_MAX);
  if (written) return {};
  MutexLock lock(object.mutex);
  if (!object.error) object.error = written.error().clone();
  return written;
}

}  // namespace karst::cache

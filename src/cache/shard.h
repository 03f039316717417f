// A part of the cache's table with its lock, its queues and its share of the counts. Inside of cache/ only.
#pragma once
#include <array>
#include <optional>
#include <thread>
#include <unordered_map>
#include <vector>

#include "cache/folio.h"
#include "core/error.h"
#include "core/mutex.h"

namespace karst::cache {

// Who fills a folio and how it ended. Guarded by the shard's lock; the last user deletes it.
struct Fill {
  std::thread::id filler;
  uint32_t users = 1;  // the filler and those who wait
  bool done = false;
  const ErrorKind* failure = nullptr;  // nullptr: a good one
  std::optional<Error> error;          // the failure in full, if there was memory for that
  FolioRef winner;                     // published by another while this was being filled
};

// Folios in order of arrival, linked through themselves.
class FolioQueue {
 public:
  void push(Folio& folio);
  void remove(Folio& folio);
  Folio* oldest() const { return tail_; }
  size_t count() const { return count_; }
  size_t bytes() const { return bytes_; }

 private:
  Folio* head_ = nullptr;
  Folio* tail_ = nullptr;
  size_t count_ = 0;
  size_t bytes_ = 0;
};

// Keys that left the small queue not long ago: as many as fit the table, approximately in order.
class GhostTable {
 public:
  explicit GhostTable(size_t entries) : entries_(entries) {}
  void remember(uint64_t hash) { entries_[slot(hash)] = print(hash); }
  bool forget(uint64_t hash) {
    const bool known = entries_[slot(hash)] == print(hash);
    if (known) entries_[slot(hash)] = 0;
    return known;
  }

 private:
  size_t slot(uint64_t hash) const { return (hash >> 8) % entries_.size(); }
  static uint32_t print(uint64_t hash) { return static_cast<uint32_t>(hash * 0x9e3779b97f4a7c15 >> 32) | 1; }
  std::vector<uint32_t> entries_;
};

class alignas(64) Shard {
 public:
  static constexpr uint8_t frequency_max = 3;  // the paper's two bits
  explicit Shard(size_t ghosts);

  Mutex mutex;
  CondVar filled;  // waited for under mutex, by those who wait for any fill in this shard

  struct Counts {
    uint64_t hits = 0, misses = 0, insertions = 0, evictions = 0, fill_errors = 0, fill_waits = 0;
  };
  Counts counts GUARDED_BY(mutex);

  Folio* find_locked(const FolioKey& key, uint64_t hash) REQUIRES(mutex) {
    for (Folio* folio = buckets_[hash & (buckets_.size() - 1)]; folio != nullptr; folio = folio->hash_next)
      if (folio->key == key) return folio;
    return nullptr;
  }
  // A use, which may keep it longer.
  static void touch(Folio& folio) {
    if (folio.frequency < frequency_max) ++folio.frequency;
  }
  // The table's own reference is the one that folios are made with.
  void insert_locked(Folio& folio) REQUIRES(mutex);
  // Complete: may be found, and evicted.
  void make_ready_locked(Folio& folio) REQUIRES(mutex);
  // The caller gets the table's reference.
  void remove_locked(Folio& folio) REQUIRES(mutex);

  // Takes out folios that are neither pinned nor dirty, up to `bytes` of them, and gives them to the caller
  // to destroy. Looks at no more than `steps` folios.
  using Victims = std::array<Folio*, 64>;
  size_t evict_locked(size_t bytes, size_t& steps, Victims& victims, size_t& victim_count) REQUIRES(mutex);

  // Takes folios out of the table and puts them, detached, in front of the chain (by hash_next). Their table
  // references are the caller's. Allocates nothing, so that invalidation cannot fail. Of the object, those
  // with from <= index < to.
  Folio* take_object_locked(ObjectId object, uint64_t from, uint64_t to, Folio* chain) REQUIRES(mutex);
  Folio* take_all_locked(Folio* chain) REQUIRES(mutex);
  template <typename F>
  void for_each_locked(F&& each) REQUIRES(mutex) {
    for (Folio* first : buckets_)
      for (Folio* folio = first; folio != nullptr; folio = folio->hash_next) each(*folio);
  }
  size_t count_locked() const REQUIRES(mutex) { return count_; }

 private:
  void grow_locked() REQUIRES(mutex);
  FolioQueue& queue_of_locked(Folio::Queue queue) REQUIRES(mutex) {
    return queue == Folio::Queue::small ? small_ : main_;
  }
  void enqueue_locked(Folio& folio, Folio::Queue queue) REQUIRES(mutex);

  std::vector<Folio*> buckets_ GUARDED_BY(mutex);
  size_t count_ GUARDED_BY(mutex) = 0;
  FolioQueue small_ GUARDED_BY(mutex), main_ GUARDED_BY(mutex);
  GhostTable ghosts_ GUARDED_BY(mutex);
  std::unordered_map<uint64_t, Folio*> objects_ GUARDED_BY(mutex);  // the newest folio of each
};

}  // namespace karst::cache

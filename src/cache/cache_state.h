// What the cache's files share. Inside of cache/ only.
#pragma once
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "cache/cache.h"
#include "cache/folio_memory.h"
#include "cache/shard.h"

namespace karst::cache {

// Folios that are in the owner's write_back(); on the stack of the thread that called it.
struct WriteBatch {
  std::vector<FolioRef> folios;  // by ascending index
  WriteBatch* next = nullptr;    // another batch of the object
};

// The dirty state of an object that has an owner.
struct CachedObject : std::enable_shared_from_this<CachedObject> {
  CachedObject(ObjectId object_id, ObjectOwner& object_owner, WriteBackWhen write_back_when)
      : id(object_id), owner(object_owner), when(write_back_when) {}
  const ObjectId id;
  ObjectOwner& owner;
  const WriteBackWhen when;

  Mutex mutex{cache_object_lock};
  CondVar written;
  // Folios whose bytes are not stored yet, by index. The `dirty` flag of one is cleared when a write-back
  // takes it, so that a mark set meanwhile survives the write-back.
  std::map<uint64_t, FolioRef> dirty GUARDED_BY(mutex);
  WriteBatch* in_flight GUARDED_BY(mutex) = nullptr;
  bool being_written_locked(uint64_t index) const REQUIRES(mutex);
  std::optional<Error> error GUARDED_BY(mutex);  // of write-back that nobody has been told of
  bool removed GUARDED_BY(mutex) = false;
  // It is in State::dirty_queue while `dirty` is not empty. The node moves there and back, which allocates
  // nothing; where it is, is guarded by the queue's lock.
  bool queued GUARDED_BY(mutex) = false;
  std::list<CachedObject*> link{this};
  const std::list<CachedObject*>::iterator place = link.begin();
};

struct Cache::State : FolioHome {
  explicit State(CacheOptions given);

  // Constant after creation.
  const CacheOptions options;
  unsigned shard_bits = 0;
  std::vector<std::unique_ptr<Shard>> shards;

  std::atomic<size_t> limit;
  std::atomic<size_t> charged{0};      // the part of `used` that is not folios
  std::atomic<size_t> dirty_bytes{0};  // by size
  std::atomic<uint64_t> refusals{0};
  std::atomic<unsigned> next_shard{0};  // where reclaim goes on
  std::atomic<uint64_t> next_object{1};

  SharedMutex objects_mutex{cache_objects_lock};
  std::unordered_map<uint64_t, std::shared_ptr<CachedObject>> objects GUARDED_BY(objects_mutex);

  // Objects with dirty folios, the longest dirty first. They live while they are in it: who removes an object
  // first takes it out.
  Mutex dirty_queue_mutex{cache_dirty_queue_lock};
  std::list<CachedObject*> dirty_queue GUARDED_BY(dirty_queue_mutex);

  SharedMutex shrinkers_mutex{cache_shrinkers_lock};
  std::vector<Shrinker*> shrinkers GUARDED_BY(shrinkers_mutex);

  size_t bytes() const { return used.load(std::memory_order_relaxed) + memory.slack_bytes(); }
  size_t overdraft() const {
    return options.overdraft != 0 ? options.overdraft : std::max<size_t>(limit.load() / 8, 4 << 20);
  }
  size_t dirty_limit() const { return options.dirty_limit != 0 ? options.dirty_limit : limit.load() / 2; }
};

inline uint64_t hash_of(const FolioKey& key) {
  uint64_t hash = static_cast<uint64_t>(key.object) * 0x9e3779b97f4a7c15 ^ key.index;
  hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93;
  hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93;
  return hash ^ hash >> 32;
}

}  // namespace karst::cache

// The folio cache: at most one folio for a key (BT-017), all together within a byte limit.
//
// Reading.   find() gives what is there. get() gives it or has the caller fill it: exactly one thread fills
//            a key, the others that want it wait for the result. Batch readers allocate() folios that nobody
//            sees yet, fill them by asynchronous I/O and publish() each when its bytes are complete and
//            verified (CO-010).
// Keeping.   A FolioRef pins. What is not pinned and not dirty may go at any time.
// Writing.   After changing bytes, mark_dirty(). The object's owner writes dirty folios back, when asked
//            (write_back) or when too much is dirty (balance_dirty).
// Limit.     Everything allocated counts, unpublished and detached folios too, by the memory its bytes really
//            take; the records (about 200 bytes for each folio) come on top, and so does what is kept warm
//            for reuse (a sixteenth of the limit). An allocation that would exceed the limit first evicts, in
//            the calling thread; then asks the shrinkers and the owners that allow it; then uses the
//            overdraft, because pinned and dirty folios cannot go; then fails with err::no_memory. It never
//            waits for others to unpin.
//
// Which folio goes: S3-FIFO (Yang et al., SOSP 2023) in each shard. New folios enter a small queue; what was
// used again there moves to the main queue, the rest leaves and its key is remembered in a ghost table, so
// that it enters the main queue if it comes back soon. A scan thus flows through a tenth of the memory; and a
// hit only counts up two bits, no list is touched.
//
// The lifetime of a folio; shard lock held at each edge:
//
//   get() ─► filling ─ok─► ready ─evict, unpinned─► destroyed
//              │ error       │ invalidate
//              ▼             ▼
//           destroyed     detached (only its holders have it) ─last reference─► destroyed
//
// Lock order, outermost first. None is held while a fill, an owner or the system is called, except
// cache.shrinkers, which shrinkers run under:
//   cache.shrinkers → cache.objects → cache.object → cache.dirty-queue → cache.shard → cache.memory.small
//     → cache.memory
// Allocation (get, allocate) acquires "may run the cache shrinker" and, unless nowait, may block.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>

#include "cache/folio.h"
#include "cache/mapping.h"
#include "core/bytes.h"
#include "core/function_ref.h"
#include "core/mutex.h"
#include "core/result.h"

namespace karst::cache {

inline constexpr LockClass cache_shrinkers_lock{"cache.shrinkers"};
inline constexpr LockClass cache_objects_lock{"cache.objects"};
inline constexpr LockClass cache_object_lock{"cache.object"};
inline constexpr LockClass cache_dirty_queue_lock{"cache.dirty-queue"};
inline constexpr LockClass cache_shard_lock{"cache.shard", {.no_block = true}};

struct CacheOptions {
  size_t limit = 256 << 20;  // bytes
  size_t overdraft = 0;      // bytes beyond the limit when nothing can go; 0: an eighth, at least 4 MiB
  size_t dirty_limit = 0;    // bytes; 0: half the limit
  unsigned shards = 0;       // 0: one per MiB of the limit, at most 64
  // Called, with whatever locks the caller of mark_dirty() or get() holds, when the dirty bytes come to
  // exceed their limit or nothing but dirty folios could go: wakes who calls balance_dirty(). Must not block.
  std::function<void()> on_pressure;
};

enum class Waiting : uint8_t { allowed, refused };  // refused: err::would_block instead (CO-018)

// Whose bytes they are. Called without locks of the cache.
class ObjectOwner {
 public:
  virtual ~ObjectOwner() = default;
  // Brings the folios' bytes to where they belong; in ascending index order, all dirty when chosen. What
  // changes while this runs is marked dirty again by who changes it, and written again later. Never called
  // twice at once for one index of the object, even if another folio has taken the place there meanwhile.
  // std::bad_alloc becomes err::no_memory.
  virtual Result<void> write_back(ObjectId object, std::span<const FolioRef> folios) = 0;
};

enum class WriteBackWhen : uint8_t {
  asked,     // only in write_back() and balance_dirty()
  any_time,  // also in the thread that allocates: takes no lock that allocators may hold
};

// Another cache that can give memory back. It charge()s what it holds.
class Shrinker {
 public:
  virtual ~Shrinker() = default;
  // Frees about this much, uncharging it, and returns how much it was. Runs in threads that allocate; must
  // not wait for locks that allocators may hold (BT-003; the validator sees to it).
  virtual size_t shrink(size_t bytes) = 0;
};

// Fills a folio; runs in the thread that calls get(). All bytes are to be set.
using FillFunction = FunctionRef<Result<void>(MutableBytes)>;

// A folio that nobody else sees yet. Its memory has a fixed address, usable by any thread its owner lets,
// until it is published or dropped.
class NewFolio {
 public:
  NewFolio(NewFolio&& other) noexcept : folio_(std::exchange(other.folio_, nullptr)) {}
  NewFolio& operator=(NewFolio other) noexcept {
    std::swap(folio_, other.folio_);
    return *this;
  }
  ~NewFolio();
  FolioKey key() const { return folio_->key; }
  MutableBytes bytes() const { return {folio_->memory, folio_->size}; }

 private:
  friend class Cache;
  explicit NewFolio(Folio* folio) : folio_(folio) {}
  Folio* folio_;
};

struct CacheStatistics {
  uint64_t hits, misses;  // of find() and get(); a wait for another's fill is a miss
  uint64_t insertions, evictions, refusals;
  uint64_t fill_errors, fill_waits;
  size_t limit, bytes;                                      // bytes: everything that counts
  size_t charged_bytes;                                     // of it, other caches'
  size_t warm_bytes;                                        // memory kept for reuse, beyond bytes
  size_t folios, dirty_bytes, pinned_folios, pinned_bytes;  // pinned: by others than the dirty state
};

class Shard;
struct CachedObject;
struct WriteBatch;

class Cache {
 public:
  explicit Cache(CacheOptions options = {});
  // All references and mappings must be gone. Dirty folios are dropped.
  ~Cache();
  Cache(const Cache&) = delete;
  Cache& operator=(const Cache&) = delete;

  // An object that is only read, or one with an owner that writes it back; the owner outlives
  // remove_object().
  ObjectId new_object();
  ObjectId new_object(ObjectOwner& owner, WriteBackWhen when = WriteBackWhen::asked);
  // Invalidates it all; dirty bytes are dropped, so write back first. Waits for a write-back in progress.
  void remove_object(ObjectId object);

  // The folio if it is there and complete.
  FolioRef find(FolioKey key);
  // Like find(), but neither counts nor keeps the folio longer: to look whether read-ahead is needed.
  FolioRef peek(FolioKey key);
  // The folio; if it is not there, `fill` reads it, in this thread, without locks. A failed fill leaves
  // nothing cached, and its error goes to all who wait for it. err::would_block, with Waiting::refused, if
  // another thread is filling it (`fill` itself is then the caller's to keep from waiting). err::invalid if
  // it is there with another size or residence. A fill must not get its own key.
  Result<FolioRef> get(FolioKey key, uint32_t size, Residence residence, FillFunction fill,
                       Waiting waiting = Waiting::allowed);

  // For batch reads and new data.
  Result<NewFolio> allocate(FolioKey key, uint32_t size, Residence residence,
                            Waiting waiting = Waiting::allowed);
  // A copy of the folio's bytes that nobody else sees, and that stays private (BT-001) or is published.
  Result<NewFolio> clone(const FolioRef& folio, Waiting waiting = Waiting::allowed);
  // Makes it visible. If another was first, that one is returned and the new one dropped. A fill that is
  // still running loses to it.
  FolioRef publish(NewFolio folio);

  // Takes folios out, whatever their state: later lookups miss; holders keep their bytes, detached; dirty
  // bytes are dropped. Write-back that is running is not stopped. Index range: from inclusive, to exclusive.
  void invalidate(ObjectId object) { invalidate(object, 0, UINT64_MAX); }
  void invalidate(ObjectId object, uint64_t from, uint64_t to);

  // Says that the bytes differ from what is stored. False if the folio is detached or its object has no
  // owner: then nobody will write it. The first of many marks takes a lock, the others one atomic step.
  // Throws std::bad_alloc, and then the folio is not marked.
  bool mark_dirty(const FolioRef& folio);
  // Writes what is dirty in the range when called, waits for what others are writing, and reports the first
  // error since it was last asked, also from write-back under pressure. What failed stays dirty.
  Result<void> write_back(ObjectId object, uint64_t from = 0, uint64_t to = UINT64_MAX);
  // If more is dirty than the limit allows, writes back the longest dirty objects until it is not. Called
  // where the caller holds no lock that owners take.
  Result<void> balance_dirty();
  bool over_dirty_limit() const;

  void set_limit(size_t bytes);
  // Evicts at least this much if it can; returns what it did.
  size_t reclaim(size_t bytes);
  // Counts memory of another cache, without bound: it is there already.
  void charge(size_t bytes);
  void uncharge(size_t bytes);

  class ShrinkerRegistration {
   public:
    ShrinkerRegistration() = default;
    ShrinkerRegistration(ShrinkerRegistration&& other) noexcept
        : cache_(std::exchange(other.cache_, nullptr)), shrinker_(other.shrinker_) {}
    ShrinkerRegistration& operator=(ShrinkerRegistration other) noexcept {
      std::swap(cache_, other.cache_);
      std::swap(shrinker_, other.shrinker_);
      return *this;
    }
    ~ShrinkerRegistration() {
      if (cache_ != nullptr) cache_->remove_shrinker(*shrinker_);
    }

   private:
    friend class Cache;
    ShrinkerRegistration(Cache& cache, Shrinker& shrinker) : cache_(&cache), shrinker_(&shrinker) {}
    Cache* cache_ = nullptr;
    Shrinker* shrinker_ = nullptr;
  };
  // Until the registration ends; that waits for a shrinker that is running.
  [[nodiscard]] ShrinkerRegistration add_shrinker(Shrinker& shrinker);

  CacheStatistics statistics() const;

 private:
  struct State;

  Shard& shard_of(uint64_t hash) const;
  Result<NewFolio> make_folio(FolioKey key, uint32_t size, Residence residence);
  Result<void> give_memory(Folio& folio, Waiting waiting);
  Result<FolioRef> finish_fill(Folio& folio, const ErrorKind* failure, std::optional<Error> error);
  static void release_chain(Folio* chain);
  Result<void> reserve(size_t bytes, Waiting waiting);
  bool try_reserve(size_t bytes, size_t limit);
  void relieve(size_t bytes);
  void remove_shrinker(Shrinker& shrinker);

  std::shared_ptr<CachedObject> object_of(ObjectId id) const;
  Result<void> write_back_object(CachedObject& object, uint64_t from, uint64_t to);
  void finish_batch(CachedObject& object, WriteBatch& batch, bool written);
  Result<void> write_back_under_pressure(CachedObject& object);
  void drop_dirty(CachedObject& object, uint64_t from, uint64_t to);
  void requeue_locked(CachedObject& object);

  std::unique_ptr<State> state_;
};

// The one place that says which folio sizes there are: multiples of 512 up to 2 MiB (BT-112).
Result<void> check_folio_size(uint32_t size);

}  // namespace karst::cache

#include "cache/cache.h"

#include <algorithm>
#include <bit>
#include <new>
#include <thread>
#include <tuple>

#include "cache/cache_state.h"

namespace karst::cache {
namespace {

// Set while this thread reclaims on behalf of an allocation: an owner or shrinker that allocates in turn
// gets no second round of them.
thread_local bool relieving = false;

unsigned shard_count(const CacheOptions& options) {
  const size_t wanted = options.shards != 0 ? options.shards : options.limit >> 20;
  return static_cast<unsigned>(std::bit_floor(std::clamp<size_t>(wanted, 1, 64)));
}

}  // namespace

Result<void> check_folio_size(uint32_t size) {
  if (size >= folio_size_min && size <= folio_size_max && size % folio_size_min == 0) return {};
  return Error(err::invalid, "not a folio size")
      .expected(fmt::format("a multiple of {} up to {}", folio_size_min, folio_size_max), size);
}

Cache::State::State(CacheOptions given) : options(std::move(given)), limit(options.limit) {
  const unsigned count = shard_count(options);
  shard_bits = static_cast<unsigned>(std::countr_zero(count));
  // As many ghosts as there would be folios of 8 KiB.
  const size_t ghosts = std::clamp<size_t>(options.limit / 8192 / count, 64, 1 << 16);
  for (unsigned i = 0; i < count; ++i) shards.push_back(std::make_unique<Shard>(ghosts));
  memory.set_warm_limit(std::max<size_t>(options.limit / 16, 1 << 20));
}

Cache::Cache(CacheOptions options) : state_(std::make_unique<State>(std::move(options))) {}

Cache::~Cache() {
  std::unordered_map<uint64_t, std::shared_ptr<CachedObject>> objects;
  {
    ExclusiveLock lock(state_->objects_mutex);
    objects.swap(state_->objects);
  }
  for (const auto& [id, object] : objects) drop_dirty(*object, 0, UINT64_MAX);
  Folio* all = nullptr;
  for (const auto& shard : state_->shards) {
    MutexLock lock(shard->mutex);
    all = shard->take_all_locked(all);
  }
  release_chain(all);
  // What still counts and is not charged is referenced, or unpublished.
  if (state_->used.load() == state_->charged.load()) return;
  report_misuse(Misuse::reference_outlives_cache);
  // A handler that returned: the holders must not reach freed memory.
  const size_t charged = state_->charged.load();
  state_.release()->orphan(charged);
}

ObjectId Cache::new_object() { return static_cast<ObjectId>(state_->next_object.fetch_add(1)); }

Shard& Cache::shard_of(uint64_t hash) const {
  return *state_->shards[state_->shard_bits == 0 ? 0 : hash >> (64 - state_->shard_bits)];
}

FolioRef Cache::find(FolioKey key) {
  const uint64_t hash = hash_of(key);
  Shard& shard = shard_of(hash);
  MutexLock lock(shard.mutex);
  Folio* folio = shard.find_locked(key, hash);
  if (folio == nullptr || !folio->ready) {
    ++shard.counts.misses;
    return {};
  }
  ++shard.counts.hits;
  Shard::touch(*folio);
  FolioRef::acquire(*folio);
  return FolioRef(folio);
}

FolioRef Cache::peek(FolioKey key) {
  const uint64_t hash = hash_of(key);
  Shard& shard = shard_of(hash);
  MutexLock lock(shard.mutex);
  Folio* folio = shard.find_locked(key, hash);
  if (folio == nullptr || !folio->ready) return {};
  FolioRef::acquire(*folio);
  return FolioRef(folio);
}

namespace {

// How a fill ended. Neither error nor winner: the folio is good, in the table or detached from it.
struct FillOutcome {
  std::optional<Error> error;
  FolioRef winner;
};
Error failed_fill(const ErrorKind& kind) { return Error(kind, "reading into the folio cache was given up"); }
FillOutcome outcome_of(const Fill& fill) {
  FillOutcome outcome;
  if (fill.winner)
    outcome.winner = fill.winner;
  else if (fill.failure != nullptr)
    outcome.error = fill.error ? fill.error->clone() : failed_fill(*fill.failure);
  return outcome;
}
// Who waits for the fill must be woken, with the whole error or without.
std::optional<Error> clone_if_there_is_memory(const std::optional<Error>& error) try {
  return error ? std::optional(error->clone()) : std::nullopt;
} catch (const std::bad_alloc&) {
  return std::nullopt;
}

void leave_fill(Folio& folio) {
  if (--folio.fill->users == 0) delete std::exchange(folio.fill, nullptr);
}

}  // namespace

Result<FolioRef> Cache::get(FolioKey key, uint32_t size, Residence residence, FillFunction fill,
                            Waiting waiting) {
  const auto checked = [&](FolioRef found) -> Result<FolioRef> {
    if (found.size() == size && found.residence() == residence) return found;
    return Error::make(err::invalid, "folio {} is cached in another form", key.index)
        .expected(
            fmt::format("{} bytes, {}", size, residence == Residence::on_demand ? "on demand" : "mapped"),
            fmt::format("{} bytes, {}", found.size(),
                        found.residence() == Residence::on_demand ? "on demand" : "mapped"));
  };
  const uint64_t hash = hash_of(key);
  Shard& shard = shard_of(hash);
  {
    MutexLock lock(shard.mutex);
    if (Folio* folio = shard.find_locked(key, hash); folio != nullptr && folio->ready) [[likely]] {
      ++shard.counts.hits;
      Shard::touch(*folio);
      FolioRef::acquire(*folio);
      return checked(FolioRef(folio));
    }
  }
  TRY(check_folio_size(size));
  if (waiting == Waiting::allowed) {
    lock_order::may_block("reading into the folio cache");
    assert_may_fault();
  }

  NewFolio fresh = TRY(make_folio(key, size, residence));
  fresh.folio_->fill = new Fill{std::this_thread::get_id()};
  Folio* made = nullptr;  // fresh, once it is in the table
  FolioRef found;
  FillOutcome outcome;
  {
    MutexLock lock(shard.mutex);
    Folio* folio = shard.find_locked(key, hash);
    if (folio == nullptr) {
      ++shard.counts.misses;
      shard.insert_locked(*fresh.folio_);
      made = std::exchange(fresh.folio_, nullptr);
      FolioRef::acquire(*made);
    } else if (folio->ready) {
      ++shard.counts.hits;
      Shard::touch(*folio);
      FolioRef::acquire(*folio);
      found = FolioRef(folio);
    } else if (waiting == Waiting::allowed) {
      VERIFY(folio->fill->filler != std::this_thread::get_id());  // a fill that gets its own key
      ++shard.counts.misses;
      ++shard.counts.fill_waits;
      ++folio->fill->users;
      FolioRef::acquire(*folio);
      found = FolioRef(folio);
      while (!folio->fill->done) shard.filled.wait(shard.mutex);
      outcome = outcome_of(*folio->fill);
      leave_fill(*folio);
    }
  }
  if (made == nullptr) {
    if (outcome.error) return *std::move(outcome.error);
    if (outcome.winner) return checked(std::move(outcome.winner));
    if (found) return checked(std::move(found));
    return Error::make(err::would_block, "folio {} is being read by another thread", key.index);
  }

  // From here on others may wait for this fill: each path below ends in finish_fill(), and none allocates
  // before it.
  const ErrorKind* failure = nullptr;
  std::optional<Error> error;
  try {
    Result<void> filled = give_memory(*made, waiting);
    if (filled) filled = fill(MutableBytes(made->memory, made->size));
    if (!filled) {
      error = std::move(filled).error();
      failure = &error->kind();
    }
  } catch (const std::bad_alloc&) {
    failure = &err::no_memory;
  } catch (...) {
    finish_fill(*made, &err::cancelled, std::nullopt).has_value();
    throw;
  }
  auto finished = finish_fill(*made, failure, std::move(error));
  return finished ? checked(*std::move(finished)) : std::move(finished);
}

// Ends a fill: publishes the folio, or takes it out again; wakes who waits. The caller's reference goes into
// the result. An error without a failure there is not; a failure without an error is one that had no memory
// for it.
Result<FolioRef> Cache::finish_fill(Folio& folio, const ErrorKind* failure, std::optional<Error> error) {
  FolioRef mine(&folio);
  if (failure == nullptr)
    FolioMemory::protect(folio.memory, folio.size, folio.residence, FolioMemory::Access::none);
  Shard& shard = shard_of(folio.hash);
  FolioRef winner;
  FolioRef tables;  // destroyed after the lock is released
  bool wake;
  {
    MutexLock lock(shard.mutex);
    Fill& fill = *folio.fill;
    const bool in_table = !folio.detached.load(std::memory_order_relaxed);
    if (failure != nullptr) {
      ++shard.counts.fill_errors;
      if (in_table) {
        shard.remove_locked(folio);
        folio.detached.store(true, std::memory_order_release);
        tables = FolioRef(&folio);
      }
    } else if (in_table) {
      shard.make_ready_locked(folio);
    }
    fill.done = true;
    fill.failure = failure;
    wake = fill.users > 1;
    if (wake) fill.error = clone_if_there_is_memory(error);
    winner = fill.winner;
    leave_fill(folio);
  }
  if (wake) shard.filled.notify_all();
  if (winner) return winner;
  if (failure != nullptr) return error ? *std::move(error) : failed_fill(*failure);
  return mine;
}

Result<NewFolio> Cache::make_folio(FolioKey key, uint32_t size, Residence residence) {
  if (key.index == UINT64_MAX) return Error(err::invalid, "not an index of a folio");
  Folio* folio = new (std::nothrow) Folio;
  if (folio == nullptr) return Error(err::no_memory, "no memory for a folio");
  folio->key = key;
  folio->hash = hash_of(key);
  folio->home = state_.get();
  folio->size = size;
  folio->residence = residence;
  return NewFolio(folio);
}

Result<void> Cache::give_memory(Folio& folio, Waiting waiting) {
  const size_t bytes = FolioMemory::footprint(folio.size, folio.residence);
  TRY(reserve(bytes, waiting));
  folio.memory = state_->memory.allocate(folio.size, folio.residence);
  if (folio.memory != nullptr) return {};
  state_->used.fetch_sub(bytes, std::memory_order_relaxed);
  return Error::make(err::no_memory, "the system gives no memory for {} bytes", folio.size);
}

void FolioHome::destroy(Folio& folio) {
  size_t bytes = 0;
  if (folio.memory != nullptr) {
    memory.free(folio.memory, folio.size, folio.residence);
    bytes = FolioMemory::footprint(folio.size, folio.residence);
  }
  delete folio.attachment.load(std::memory_order_acquire);
  delete folio.fill;
  delete &folio;
  if (bytes == 0) return;
  const size_t before = used.fetch_sub(bytes, std::memory_order_acq_rel);
  if (before - bytes == used_at_end_.load(std::memory_order_acquire)) [[unlikely]]
    delete this;
}

void FolioHome::orphan(size_t used_at_end) {
  used.fetch_add(1, std::memory_order_acq_rel);  // holds it until the end is known to all
  used_at_end_.store(used_at_end, std::memory_order_release);
  if (used.fetch_sub(1, std::memory_order_acq_rel) - 1 == used_at_end) delete this;
}

void FolioRef::destroy(Folio* folio) { folio->home->destroy(*folio); }

void FolioRef::refuse_address(const Folio&) { report_misuse(Misuse::address_of_on_demand); }

Result<NewFolio> Cache::allocate(FolioKey key, uint32_t size, Residence residence, Waiting waiting) {
  TRY(check_folio_size(size));
  NewFolio made = TRY(make_folio(key, size, residence));
  TRY(give_memory(*made.folio_, waiting));
  return made;
}

Result<NewFolio> Cache::clone(const FolioRef& folio, Waiting waiting) {
  NewFolio copy = TRY(allocate(folio.key(), folio.size(), folio.residence(), waiting));
  const Mapping source(folio);
  std::ranges::copy(source.bytes(), copy.bytes().begin());
  return copy;
}

NewFolio::~NewFolio() {
  if (folio_ != nullptr) folio_->home->destroy(*folio_);
}

FolioRef Cache::publish(NewFolio folio) {
  Folio& made = *folio.folio_;
  FolioMemory::protect(made.memory, made.size, made.residence, FolioMemory::Access::none);
  Shard& shard = shard_of(made.hash);
  FolioRef superseded;
  bool wake = false;
  FolioRef result;
  {
    MutexLock lock(shard.mutex);
    Folio* other = shard.find_locked(made.key, made.hash);
    if (other != nullptr && other->ready) {
      FolioRef::acquire(*other);
      return FolioRef(other);
    }
    shard.insert_locked(made);  // before the first change, since it may throw
    if (other != nullptr) {
      // Being filled: what is complete wins, and the filler gets it too.
      shard.remove_locked(*other);
      other->detached.store(true, std::memory_order_release);
      superseded = FolioRef(other);
      FolioRef::acquire(made);
      other->fill->winner = FolioRef(&made);
      other->fill->done = true;
      wake = other->fill->users > 1;
    }
    shard.make_ready_locked(made);
    FolioRef::acquire(made);
    folio.folio_ = nullptr;
    result = FolioRef(&made);
  }
  if (wake) shard.filled.notify_all();
  return result;
}

void Cache::invalidate(ObjectId object, uint64_t from, uint64_t to) {
  Folio* taken = nullptr;
  for (const auto& shard : state_->shards) {
    MutexLock lock(shard->mutex);
    taken = shard->take_object_locked(object, from, to, taken);
  }
  release_chain(taken);
  if (const auto owned = object_of(object)) drop_dirty(*owned, from, to);
}

// Of folios that have left the table, which is why their links are free.
void Cache::release_chain(Folio* chain) {
  while (chain != nullptr) {
    Folio& folio = *chain;
    chain = std::exchange(folio.hash_next, nullptr);
    FolioRef::release(folio);
  }
}

bool Cache::try_reserve(size_t bytes, size_t limit) {
  limit -= std::min(limit, state_->memory.slack_bytes());
  size_t used = state_->used.load(std::memory_order_relaxed);
  while (bytes <= limit && used <= limit - bytes)
    if (state_->used.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed)) return true;
  return false;
}

Result<void> Cache::reserve(size_t bytes, Waiting waiting) {
  if (waiting == Waiting::allowed) lock_order::may_shrink();
  const size_t limit = state_->limit.load(std::memory_order_relaxed);
  if (try_reserve(bytes, limit)) return {};
  // A little more than is needed, so that not every allocation takes the shard locks.
  const auto excess = [&] {
    const size_t wanted = state_->bytes() + bytes;
    return wanted - std::min(limit, wanted) + std::min<size_t>(limit / 64, 64 << 10);
  };
  // Again, because small folios free their memory only by the page.
  while (reclaim(excess()) > 0)
    if (try_reserve(bytes, limit)) return {};
  if (waiting == Waiting::allowed && !relieving) {
    relieve(excess());
    if (try_reserve(bytes, limit)) return {};
  }
  if (try_reserve(bytes, limit + state_->overdraft())) return {};
  state_->refusals.fetch_add(1, std::memory_order_relaxed);
  return Error::make(err::no_memory, "no room in the cache for {} bytes: all is pinned or dirty", bytes)
      .expected(fmt::format("at most {} bytes", limit + state_->overdraft()),
                fmt::format("{} bytes", state_->bytes()));
}

size_t Cache::reclaim(size_t bytes) {
  size_t freed = 0;
  // A folio of the highest frequency is passed over that many times before it goes.
  for (unsigned round = 0; round <= Shard::frequency_max && freed < bytes; ++round)
    for (size_t i = 0; i < state_->shards.size() && freed < bytes; ++i) {
      Shard& shard =
          *state_->shards[state_->next_shard.fetch_add(1, std::memory_order_relaxed) % state_->shards.size()];
      size_t steps = SIZE_MAX;
      Shard::Victims victims;
      size_t count;
      do {
        count = 0;
        {
          MutexLock lock(shard.mutex);
          steps = std::min(steps, shard.count_locked() + 1);
          freed += shard.evict_locked(bytes - freed, steps, victims, count);
        }
        for (size_t victim = 0; victim < count; ++victim) state_->destroy(*victims[victim]);
      } while (count == victims.size() && steps > 0 && freed < bytes);
    }
  return freed;
}

// What an allocation does when nothing clean and unpinned is left: others give back, owners write.
void Cache::relieve(size_t bytes) {
  relieving = true;
  const struct Done {
    ~Done() { relieving = false; }
  } done;
  size_t freed = 0;
  {
    SharedLock lock(state_->shrinkers_mutex);
    lock_order::ShrinkerScope scope;
    for (Shrinker* shrinker : state_->shrinkers) {
      if (freed >= bytes) break;
      freed += shrinker->shrink(bytes - freed);
    }
  }
  if (freed < bytes && state_->dirty_bytes.load(std::memory_order_relaxed) > 0) {
    std::shared_ptr<CachedObject> willing;
    {
      MutexLock lock(state_->dirty_queue_mutex);
      const auto found = std::ranges::find(state_->dirty_queue, WriteBackWhen::any_time, &CachedObject::when);
      if (found != state_->dirty_queue.end()) willing = (*found)->shared_from_this();
    }
    if (willing) {
      lock_order::ShrinkerScope scope;
      // A failure is told to who asks that object to write back; this allocation may do without it.
      write_back_under_pressure(*willing).has_value();
    } else if (state_->options.on_pressure) {
      state_->options.on_pressure();
    }
    reclaim(bytes - freed);
  }
}

void Cache::set_limit(size_t bytes) {
  state_->limit.store(bytes, std::memory_order_relaxed);
  state_->memory.set_warm_limit(std::max<size_t>(bytes / 16, 1 << 20));
  while (state_->bytes() > bytes && reclaim(state_->bytes() - bytes) > 0) {
  }
  state_->memory.trim();
}

void Cache::charge(size_t bytes) {
  state_->charged.fetch_add(bytes, std::memory_order_relaxed);
  state_->used.fetch_add(bytes, std::memory_order_relaxed);
}

void Cache::uncharge(size_t bytes) {
  state_->used.fetch_sub(bytes, std::memory_order_relaxed);
  state_->charged.fetch_sub(bytes, std::memory_order_relaxed);
}

Cache::ShrinkerRegistration Cache::add_shrinker(Shrinker& shrinker) {
  ExclusiveLock lock(state_->shrinkers_mutex);
  state_->shrinkers.push_back(&shrinker);
  return ShrinkerRegistration(*this, shrinker);
}

void Cache::remove_shrinker(Shrinker& shrinker) {
  ExclusiveLock lock(state_->shrinkers_mutex);
  std::erase(state_->shrinkers, &shrinker);
}

CacheStatistics Cache::statistics() const {
  CacheStatistics total{};
  for (const auto& shard : state_->shards) {
    MutexLock lock(shard->mutex);
    total.hits += shard->counts.hits;
    total.misses += shard->counts.misses;
    total.insertions += shard->counts.insertions;
    total.evictions += shard->counts.evictions;
    total.fill_errors += shard->counts.fill_errors;
    total.fill_waits += shard->counts.fill_waits;
    total.folios += shard->count_locked();
    shard->for_each_locked([&](Folio& folio) {
      const uint32_t own = folio.dirty.load(std::memory_order_relaxed) ? 2 : 1;
      if (folio.references.value() <= own) return;
      ++total.pinned_folios;
      total.pinned_bytes += folio.size;
    });
  }
  total.refusals = state_->refusals.load();
  total.limit = state_->limit.load();
  total.bytes = state_->bytes();
  total.charged_bytes = state_->charged.load();
  total.warm_bytes = state_->memory.warm_bytes();
  total.dirty_bytes = state_->dirty_bytes.load();
  return total;
}

}  // namespace karst::cache

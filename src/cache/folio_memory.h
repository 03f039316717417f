// Memory of folios, in size classes carved from mapped slabs, so that what the process holds follows what
// the cache counts.
//
// A slot that is freed stays warm (resident, ready for the next folio of its class) while all warm slots
// together are under a limit; beyond it the slot's pages go back to the system at once and it is cold:
// address space only. Slots under a page share pages and give them back when all in one are free. Slabs
// keep their class and are unmapped at the end; transparent huge pages are off for them, since one touched
// slot would bring 2 MiB.
//
// Locks: each class has its own, a leaf (cache.h has the order).
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <vector>

#include "cache/folio.h"
#include "core/mutex.h"

namespace karst::cache {

inline constexpr uint32_t folio_size_min = 512;
inline constexpr uint32_t folio_size_max = 2 << 20;

inline constexpr LockClass folio_memory_lock{"cache.memory", {.no_block = true}};
inline constexpr LockClass folio_memory_small_lock{"cache.memory.small", {.no_block = true}};

class FolioMemory {
 public:
  FolioMemory() = default;
  ~FolioMemory();
  FolioMemory(const FolioMemory&) = delete;
  FolioMemory& operator=(const FolioMemory&) = delete;

  // What a folio of this size takes from memory: the size of its class.
  static size_t footprint(uint32_t size, Residence residence);

  // Accessible memory of undefined contents, aligned to 4096 (smaller ones to their size); nullptr if the
  // system gives none. In debug builds filled with a pattern.
  std::byte* allocate(uint32_t size, Residence residence);
  void free(std::byte* memory, uint32_t size, Residence residence);

  // Debug builds: makes an on_demand folio's memory inaccessible, readable or writable. Otherwise nothing.
  enum class Access : uint8_t { none, read, write };
  static void protect(std::byte* memory, uint32_t size, Residence residence, Access access);

  void set_warm_limit(size_t bytes) { warm_limit_.store(bytes, std::memory_order_relaxed); }
  size_t warm_bytes() const { return warm_bytes_.load(std::memory_order_relaxed); }
  // Free slots under a page in pages that are not wholly free: resident, and of no use to other sizes.
  size_t slack_bytes() const { return slack_bytes_.load(std::memory_order_relaxed); }
  // Gives up all warm slots.
  void trim();

 private:
  static constexpr size_t page_class_count = 32;
  static constexpr size_t small_class_count = 3;

  struct PageClass {
    Mutex mutex{folio_memory_lock};
    std::vector<std::byte*> warm GUARDED_BY(mutex), cold GUARDED_BY(mutex);
    std::byte* fresh GUARDED_BY(mutex) = nullptr;  // never used, up to fresh_end
    std::byte* fresh_end GUARDED_BY(mutex) = nullptr;
    std::vector<std::pair<std::byte*, size_t>> slabs GUARDED_BY(mutex);
    size_t slots GUARDED_BY(mutex) = 0;
  };
  // Pages cut into 8, 4 or 2 slots; a bit is set for each free one. Entries move between the two maps, which
  // allocates nothing.
  struct SmallClass {
    Mutex mutex{folio_memory_small_lock};
    std::map<std::byte*, uint8_t> partly_free GUARDED_BY(mutex), full GUARDED_BY(mutex);
  };
  struct Pool {
    std::array<PageClass, page_class_count> pages;
    std::array<SmallClass, small_class_count> small;
  };

  std::byte* allocate_pages(Pool& pool, size_t index);
  void free_pages(Pool& pool, size_t index, std::byte* memory);
  std::byte* allocate_small(Pool& pool, size_t index);
  void free_small(Pool& pool, size_t index, std::byte* memory);
  static bool add_slab_locked(PageClass& pages, size_t slot_size) REQUIRES(pages.mutex);
  Pool& pool_of(Residence residence);

  std::atomic<size_t> warm_limit_{SIZE_MAX};
  std::atomic<size_t> warm_bytes_{0};
  std::atomic<size_t> slack_bytes_{0};
  Pool always_mapped_;
  Pool on_demand_;  // apart, so that protecting single folios does not split the mappings of the others
};

// Where folios come from and go to: what they need when the last reference goes, whoever has it.
struct FolioHome {
  virtual ~FolioHome() = default;
  FolioMemory memory;
  std::atomic<size_t> used{0};  // bytes, by footprint, with what other caches charge
  void destroy(Folio& folio);

  // After a cache ended with references left (misuse), the last of them ends this, when `used` is so much.
  void orphan(size_t used_at_end);

 private:
  std::atomic<size_t> used_at_end_{SIZE_MAX};
};

}  // namespace karst::cache

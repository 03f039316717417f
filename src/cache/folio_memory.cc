#include "cache/folio_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <new>

namespace karst::cache {
namespace {

constexpr size_t page_size = 4096;
constexpr size_t slab_size_min = 2 << 20;
constexpr size_t slots_per_slab_min = 8;

#ifdef KARST_DEBUG
constexpr bool protects = true;
#else
constexpr bool protects = false;
#endif

// Page classes, in pages: 1 to 8 each, then four to a doubling (10 12 14 16, 20 24 28 32, … 512), so that at
// most a fifth is lost to rounding.
constexpr size_t page_class_of(size_t pages) {
  if (pages <= 8) return pages - 1;
  const unsigned shift = static_cast<unsigned>(std::bit_width(pages - 1)) - 3;
  const size_t quarter = (pages + (size_t{1} << shift) - 1) >> shift;
  return 8 + (shift - 1) * 4 + (quarter - 5);
}
constexpr size_t slot_size_of(size_t page_class) {
  if (page_class < 8) return (page_class + 1) * page_size;
  const size_t shift = (page_class - 8) / 4 + 1;
  return ((page_class - 8) % 4 + 5) << shift << 12;
}
static_assert(slot_size_of(page_class_of(9)) == 10 * page_size);
static_assert(slot_size_of(page_class_of(16)) == 16 * page_size &&
              slot_size_of(page_class_of(17)) == 20 * page_size);
static_assert(page_class_of(512) == 31 && slot_size_of(31) == folio_size_max);

// Small classes: 512, 1024, 2048.
constexpr size_t small_class_of(uint32_t size) {
  return static_cast<size_t>(std::bit_width((size - 1) >> 9));
}
constexpr size_t small_size_of(size_t small_class) { return size_t{512} << small_class; }
static_assert(small_class_of(512) == 0 && small_class_of(1024) == 1 && small_class_of(1536) == 2);

constexpr bool is_small(uint32_t size, Residence residence) {
  return size <= 2048 && !(protects && residence == Residence::on_demand);
}

size_t pages_of(uint32_t size) { return (size + page_size - 1) / page_size; }

}  // namespace

FolioMemory::~FolioMemory() {
  for (Pool* pool : {&always_mapped_, &on_demand_})
    for (PageClass& pages : pool->pages) {
      MutexLock lock(pages.mutex);
      for (const auto& [slab, size] : pages.slabs) ::munmap(slab, size);
    }
}

size_t FolioMemory::footprint(uint32_t size, Residence residence) {
  if (is_small(size, residence)) return small_size_of(small_class_of(size));
  return slot_size_of(page_class_of(pages_of(size)));
}

FolioMemory::Pool& FolioMemory::pool_of(Residence residence) {
  return protects && residence == Residence::on_demand ? on_demand_ : always_mapped_;
}

std::byte* FolioMemory::allocate(uint32_t size, Residence residence) {
  Pool& pool = pool_of(residence);
  std::byte* memory = nullptr;
  try {
    memory = is_small(size, residence) ? allocate_small(pool, small_class_of(size))
                                       : allocate_pages(pool, page_class_of(pages_of(size)));
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
  if constexpr (protects) {
    if (memory == nullptr) return nullptr;
    protect(memory, size, residence, Access::write);
    std::memset(memory, 0xcd, size);
  }
  return memory;
}

void FolioMemory::free(std::byte* memory, uint32_t size, Residence residence) {
  Pool& pool = pool_of(residence);
  if (protects && residence == Residence::always_mapped) std::memset(memory, 0xdd, size);
  protect(memory, size, residence, Access::none);
  if (is_small(size, residence))
    free_small(pool, small_class_of(size), memory);
  else
    free_pages(pool, page_class_of(pages_of(size)), memory);
}

void FolioMemory::protect(std::byte* memory, uint32_t size, Residence residence, Access access) {
  if (!protects || residence == Residence::always_mapped) return;
  static constexpr int flags[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
  VERIFY(::mprotect(memory, pages_of(size) * page_size, flags[static_cast<int>(access)]) == 0);
}

bool FolioMemory::add_slab_locked(PageClass& pages, size_t slot_size) {
  const size_t size = std::max(slab_size_min, slot_size * slots_per_slab_min);
  const size_t slots = size / slot_size;
  // What frees a slot must not allocate.
  pages.warm.reserve(pages.slots + slots);
  pages.cold.reserve(pages.slots + slots);
  pages.slabs.emplace_back();
  void* slab =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (slab == MAP_FAILED) {
    pages.slabs.pop_back();
    return false;
  }
  ::madvise(slab, size, MADV_NOHUGEPAGE);
  pages.slots += slots;
  pages.slabs.back() = {static_cast<std::byte*>(slab), size};
  pages.fresh = static_cast<std::byte*>(slab);
  pages.fresh_end = pages.fresh + slots * slot_size;
  return true;
}

std::byte* FolioMemory::allocate_pages(Pool& pool, size_t index) {
  PageClass& pages = pool.pages[index];
  const size_t slot_size = slot_size_of(index);
  MutexLock lock(pages.mutex);
  if (!pages.warm.empty()) {
    std::byte* memory = pages.warm.back();
    pages.warm.pop_back();
    warm_bytes_.fetch_sub(slot_size, std::memory_order_relaxed);
    return memory;
  }
  if (!pages.cold.empty()) {
    std::byte* memory = pages.cold.back();
    pages.cold.pop_back();
    return memory;
  }
  if (pages.fresh == pages.fresh_end && !add_slab_locked(pages, slot_size)) return nullptr;
  return std::exchange(pages.fresh, pages.fresh + slot_size);
}

void FolioMemory::free_pages(Pool& pool, size_t index, std::byte* memory) {
  PageClass& pages = pool.pages[index];
  const size_t slot_size = slot_size_of(index);
  const size_t warm_before = warm_bytes_.fetch_add(slot_size, std::memory_order_relaxed);
  const bool keep_warm = warm_before + slot_size <= warm_limit_.load(std::memory_order_relaxed);
  if (!keep_warm) {
    warm_bytes_.fetch_sub(slot_size, std::memory_order_relaxed);
    ::madvise(memory, slot_size, MADV_DONTNEED);
  }
  MutexLock lock(pages.mutex);
  (keep_warm ? pages.warm : pages.cold).push_back(memory);
}

std::byte* FolioMemory::allocate_small(Pool& pool, size_t index) {
  SmallClass& small = pool.small[index];
  const size_t slot_size = small_size_of(index);
  MutexLock lock(small.mutex);
  if (small.partly_free.empty()) {
    std::byte* page = allocate_pages(pool, 0);
    if (page == nullptr) return nullptr;
    try {
      small.partly_free.emplace(page, static_cast<uint8_t>((1u << (page_size / slot_size)) - 1));
    } catch (const std::bad_alloc&) {
      free_pages(pool, 0, page);
      throw;
    }
    slack_bytes_.fetch_add(page_size, std::memory_order_relaxed);
  }
  slack_bytes_.fetch_sub(slot_size, std::memory_order_relaxed);
  const auto found = small.partly_free.begin();
  auto& [page, free_slots] = *found;
  std::byte* memory = page + static_cast<size_t>(std::countr_zero(free_slots)) * slot_size;
  free_slots = static_cast<uint8_t>(free_slots & (free_slots - 1));
  if (free_slots == 0) small.full.insert(small.partly_free.extract(found));
  return memory;
}

void FolioMemory::free_small(Pool& pool, size_t index, std::byte* memory) {
  SmallClass& small = pool.small[index];
  const size_t slot_size = small_size_of(index);
  std::byte* page = memory - reinterpret_cast<uintptr_t>(memory) % page_size;
  MutexLock lock(small.mutex);
  if (const auto full = small.full.find(page); full != small.full.end())
    small.partly_free.insert(small.full.extract(full));
  const auto found = small.partly_free.find(page);
  VERIFY(found != small.partly_free.end());
  const auto bit = static_cast<uint8_t>(1u << (static_cast<size_t>(memory - page) / slot_size));
  VERIFY((found->second & bit) == 0);
  found->second = static_cast<uint8_t>(found->second | bit);
  slack_bytes_.fetch_add(slot_size, std::memory_order_relaxed);
  if (found->second != (1u << (page_size / slot_size)) - 1) return;
  small.partly_free.erase(found);
  slack_bytes_.fetch_sub(page_size, std::memory_order_relaxed);
  free_pages(pool, 0, page);
}

void FolioMemory::trim() {
  for (Pool* pool : {&always_mapped_, &on_demand_})
    for (size_t index = 0; index < page_class_count; ++index) {
      PageClass& pages = pool->pages[index];
      MutexLock lock(pages.mutex);
      for (std::byte* memory : pages.warm) {
        ::madvise(memory, slot_size_of(index), MADV_DONTNEED);
        warm_bytes_.fetch_sub(slot_size_of(index), std::memory_order_relaxed);
        pages.cold.push_back(memory);
      }
      pages.warm.clear();
    }
}

}  // namespace karst::cache

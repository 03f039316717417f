#include "cache/mapping.h"

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "cache/folio_memory.h"

namespace karst::cache {
namespace {

std::atomic<MisuseHandler> misuse_handler{nullptr};

}  // namespace

const char* name_of(Misuse misuse) {
  switch (misuse) {
    case Misuse::released_out_of_order: return "a folio mapping was released out of order";
    case Misuse::released_by_another_thread: return "a folio mapping was released by another thread";
    case Misuse::used_by_another_thread: return "a folio mapping was used by another thread";
    case Misuse::leaked_at_thread_end: return "a thread ended with a folio mapped";
    case Misuse::address_of_on_demand: return "the address of an on-demand folio was taken without a mapping";
    case Misuse::reference_outlives_cache: return "a folio reference outlives the cache";
    case Misuse::faulted_in_no_fault_section: return "something that may fault in a no-fault section";
  }
  return "?";
}

MisuseHandler set_misuse_handler(MisuseHandler handler) { return misuse_handler.exchange(handler); }

void report_misuse(Misuse misuse) {
  if (const MisuseHandler handler = misuse_handler.load()) return handler(misuse);
  std::fprintf(stderr, "karst: %s\n", name_of(misuse));
  std::abort();
}

#ifdef KARST_DEBUG

// The mappings of one thread, linked from the newest to the oldest. Others see it only when they misuse a
// mapping, hence the lock; it is a bare std::mutex because it is also taken while a thread ends.
struct ThreadMappings {
  std::mutex mutex;
  MappingBase* newest = nullptr;

  void push(MappingBase& mapping) {
    const std::scoped_lock lock(mutex);
    mapping.older_ = std::exchange(newest, &mapping);
  }
  // True if it was the newest.
  bool remove(MappingBase& mapping) {
    const std::scoped_lock lock(mutex);
    MappingBase** link = &newest;
    while (*link != &mapping) link = &(*link)->older_;
    *link = mapping.older_;
    return link == &newest;
  }
};

namespace {

struct ThreadMappingsOwner {
  std::shared_ptr<ThreadMappings> mappings = std::make_shared<ThreadMappings>();
  ~ThreadMappingsOwner() {
    bool leaked;
    {
      const std::scoped_lock lock(mappings->mutex);
      leaked = mappings->newest != nullptr;
    }
    if (leaked) report_misuse(Misuse::leaked_at_thread_end);
  }
};

const std::shared_ptr<ThreadMappings>& this_thread() {
  thread_local ThreadMappingsOwner owner;
  return owner.mappings;
}

// Folios share these locks by address; they make counting and changing the protection one step.
std::mutex& protection_lock(const Folio& folio) {
  static std::array<std::mutex, 64> locks;
  return locks[reinterpret_cast<uintptr_t>(&folio) / alignof(std::max_align_t) % locks.size()];
}

void protect_as_counted(const Folio& folio) {
  using Access = FolioMemory::Access;
  const Access access = folio.write_mappings != 0  ? Access::write
                        : folio.read_mappings != 0 ? Access::read
                                                   : Access::none;
  FolioMemory::protect(folio.memory, folio.size, folio.residence, access);
}

}  // namespace

MappingBase::MappingBase(const FolioRef& folio, Access access) noexcept
    : folio_(folio), access_(access), owner_(this_thread()) {
  VERIFY(folio);
  {
    Folio& mapped = *folio_.folio_;
    const std::scoped_lock lock(protection_lock(mapped));
    uint32_t& count = access == Access::write ? mapped.write_mappings : mapped.read_mappings;
    const bool widens = count++ == 0;
    if (widens) protect_as_counted(mapped);
  }
  owner_->push(*this);
}

MappingBase::~MappingBase() {
  const bool foreign = owner_ != this_thread();
  const bool newest = owner_->remove(*this);
  if (foreign)
    report_misuse(Misuse::released_by_another_thread);
  else if (!newest)
    report_misuse(Misuse::released_out_of_order);
  Folio& mapped = *folio_.folio_;
  const std::scoped_lock lock(protection_lock(mapped));
  uint32_t& count = access_ == Access::write ? mapped.write_mappings : mapped.read_mappings;
  if (--count == 0) protect_as_counted(mapped);
}

std::byte* MappingBase::address() const {
  if (owner_ != this_thread()) report_misuse(Misuse::used_by_another_thread);
  return folio_.folio_->memory;
}

#endif

}  // namespace karst::cache

// A folio: a piece of an object's bytes held in memory, and the reference that keeps it there.
//
// Whether its address is fixed is part of its making (MP-007). always_mapped memory may be used by address
// for as long as a FolioRef is held: tree nodes are such. on_demand memory is reached only through a scoped
// Mapping (mapping.h); between mappings it may be moved or written out, and in debug builds any access
// faults (MP-004, MP-006).
//
// A FolioRef is a pin: what is pinned is not evicted. Copying one is an atomic increment. The cache outlives
// all references to its folios.
#pragma once
#include <atomic>
#include <compare>
#include <cstdint>
#include <utility>

#include "core/bytes.h"
#include "core/refcount.h"

namespace karst::cache {

class Cache;
class Mapping;
class MutableMapping;

// One thing whose bytes are cached: a device's tree nodes, a file's data. Given out by Cache::new_object();
// 0 is none.
enum class ObjectId : uint64_t {};

// Which folio of the object; the index counts what the object's owner likes (bytes, pages, tree blocks).
// UINT64_MAX is no index: ranges end there.
struct FolioKey {
  ObjectId object{};
  uint64_t index = 0;
  bool operator==(const FolioKey&) const = default;
};

enum class Residence : uint8_t { always_mapped, on_demand };

// State that lives and dies with a folio: the lock of a tree node, a map of valid sectors (BT-078).
class Attachment {
 public:
  virtual ~Attachment() = default;
};

// The cache's own record; not for use outside cache/.
struct Fill;
struct FolioHome;
struct Folio {
  // Constant once published.
  FolioKey key;
  uint64_t hash = 0;
  FolioHome* home = nullptr;
  std::byte* memory = nullptr;
  uint32_t size = 0;
  Residence residence = Residence::on_demand;

  // One for being in the cache's table, one for each FolioRef and mapping.
  RefCount references{1};
  // Set when the contents were changed and not yet handed to write-back.
  std::atomic<bool> dirty{false};
  // Set for good, under the shard's lock, when it leaves the table while referenced.
  std::atomic<bool> detached{false};
  std::atomic<Attachment*> attachment{nullptr};

  // Guarded by the shard's lock.
  enum class Queue : uint8_t { none, small, main } queue = Queue::none;
  uint8_t frequency = 0;
  bool ready = false;
  Fill* fill = nullptr;  // while it is being filled
  Folio* hash_next = nullptr;
  Folio *queue_before = nullptr, *queue_after = nullptr;
  Folio *object_before = nullptr, *object_after = nullptr;

#ifdef KARST_DEBUG
  // Guarded by the protection lock of mapping.cc.
  uint32_t read_mappings = 0, write_mappings = 0;
#endif
};

class FolioRef {
 public:
  FolioRef() = default;
  FolioRef(const FolioRef& other) : folio_(other.folio_) {
    if (folio_ != nullptr) acquire(*folio_);
  }
  FolioRef(FolioRef&& other) noexcept : folio_(std::exchange(other.folio_, nullptr)) {}
  FolioRef& operator=(FolioRef other) noexcept {
    std::swap(folio_, other.folio_);
    return *this;
  }
  ~FolioRef() { reset(); }
  void reset() {
    if (Folio* folio = std::exchange(folio_, nullptr)) release(*folio);
  }

  explicit operator bool() const { return folio_ != nullptr; }
  // Of the same folio, not of equal bytes.
  bool operator==(const FolioRef&) const = default;

  FolioKey key() const { return folio_->key; }
  uint32_t size() const { return folio_->size; }
  Residence residence() const { return folio_->residence; }
  bool dirty() const { return folio_->dirty.load(std::memory_order_relaxed); }
  // True once it was invalidated: these bytes are the holder's alone, a lookup finds others or none.
  bool detached() const { return folio_->detached.load(std::memory_order_acquire); }

  // The bytes by their fixed address. Only of an always_mapped folio; of another it is misuse (MP-006), and
  // release builds abort. Who may write them is the owner's rule; mark them dirty afterwards.
  Bytes bytes() const { return {address(), folio_->size}; }
  MutableBytes mutable_bytes() const { return {address(), folio_->size}; }

  // The folio's attachment, made at first use. Two threads may make one each; the first to finish wins.
  template <typename T, typename Make>
  T& attachment(Make&& make) const {
    Attachment* existing = folio_->attachment.load(std::memory_order_acquire);
    if (existing == nullptr) {
      auto made = make();
      if (folio_->attachment.compare_exchange_strong(existing, made.get(), std::memory_order_acq_rel))
        existing = made.release();
    }
    return static_cast<T&>(*existing);
  }

 private:
  friend class Cache;
  friend class MappingBase;
  explicit FolioRef(Folio* adopted) : folio_(adopted) {}
  static void acquire(Folio& folio) { folio.references.acquire(); }
  static void release(Folio& folio) {
    if (folio.references.release()) destroy(&folio);
  }
  static void destroy(Folio* folio);
  static void refuse_address(const Folio& folio);
  std::byte* address() const {
    if (folio_->residence != Residence::always_mapped) [[unlikely]]
      refuse_address(*folio_);
    return folio_->memory;
  }

  Folio* folio_ = nullptr;
};

}  // namespace karst::cache

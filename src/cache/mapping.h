// Scoped access to the bytes of a folio, and the section in which nothing may fault.
//
//   FolioRef folio = …;
//   Mapping source(folio);             // maps; unmapped at the end of the scope, on every path (MP-001)
//   decompress(source.bytes(), …);
//
// Rules, each checked in debug builds:
//   - A mapping belongs to the thread that made it; other threads map for themselves (MP-002, MP-005).
//   - A thread releases its mappings in the reverse order of their making (MP-003). They do not move, so
//     that scopes give this order by themselves.
//   - No address is kept after its mapping: in debug builds it faults (MP-004).
//   - The thread may sleep while it holds one, and mapping itself never blocks and never fails (MP-010,
//     MP-011).
// A mapping pins its folio. On an always_mapped folio it works alike and only checks order and thread.
//
// Mapping says nothing about faults; code that needs both asks for both (MP-009).
#pragma once
#include <memory>

#include "cache/folio.h"
#include "core/assert.h"

namespace karst::cache {

// What went wrong with a mapping. It is a bug of ours: the default handler prints and aborts. In release
// builds only `address_of_on_demand` and `reference_outlives_cache` are seen.
enum class Misuse : uint8_t {
  released_out_of_order,
  released_by_another_thread,
  used_by_another_thread,
  leaked_at_thread_end,
  address_of_on_demand,
  reference_outlives_cache,
  faulted_in_no_fault_section,
};
const char* name_of(Misuse misuse);

// For tests, which count misuses and go on. Returns the previous handler; nullptr is the default one.
using MisuseHandler = void (*)(Misuse misuse);
MisuseHandler set_misuse_handler(MisuseHandler handler);
void report_misuse(Misuse misuse);

#ifdef KARST_DEBUG
struct ThreadMappings;
#endif

class MappingBase {
 public:
  MappingBase(const MappingBase&) = delete;
  MappingBase& operator=(const MappingBase&) = delete;

 protected:
  enum class Access : bool { read, write };
#ifdef KARST_DEBUG
  MappingBase(const FolioRef& folio, Access access) noexcept;
  ~MappingBase();
  std::byte* address() const;
#else
  MappingBase(const FolioRef& folio, Access) noexcept : folio_(folio) { VERIFY(folio); }
  ~MappingBase() = default;
  std::byte* address() const { return folio_.folio_->memory; }
#endif
  size_t size() const { return folio_.size(); }

 private:
  FolioRef folio_;
#ifdef KARST_DEBUG
  friend struct ThreadMappings;
  Access access_;
  std::shared_ptr<ThreadMappings> owner_;
  MappingBase* older_ = nullptr;  // guarded by the owner's lock
#endif
};

class [[nodiscard]] Mapping : public MappingBase {
 public:
  explicit Mapping(const FolioRef& folio) noexcept : MappingBase(folio, Access::read) {}
  Bytes bytes() const { return {address(), size()}; }
};

class [[nodiscard]] MutableMapping : public MappingBase {
 public:
  explicit MutableMapping(const FolioRef& folio) noexcept : MappingBase(folio, Access::write) {}
  MutableBytes bytes() const { return {address(), size()}; }
};

// While one exists, its thread must not take a fault that somebody has to serve (memory served by the pager)
// nor fill a folio: what it copies to or from must be resident or copied by calls that fail instead.
class NoFaultSection {
 public:
  NoFaultSection() { ++depth_; }
  ~NoFaultSection() { --depth_; }
  NoFaultSection(const NoFaultSection&) = delete;
  NoFaultSection& operator=(const NoFaultSection&) = delete;
  static bool active() { return depth_ != 0; }

 private:
  static inline thread_local unsigned depth_ = 0;
};

// Where a fault would be served, or is about to be caused.
inline void assert_may_fault() {
  if (NoFaultSection::active()) [[unlikely]]
    report_misuse(Misuse::faulted_in_no_fault_section);
}

}  // namespace karst::cache

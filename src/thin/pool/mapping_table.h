// A volume's mappings as its requests see them: a table in memory, looked up without a lock.
//
// Entries are filled from the tree and changed by the metadata, which tells this table of every change while
// it holds its lock (MappingWatcher); a lookup reads one atomic word. What is not known has to be looked up
// in the tree. Pages of 512 entries are made when first filled, up to a limit shared by all volumes of the
// pool (PageBudget); beyond it a page is not made, and the pool's housekeeping takes old ones away.
//
// Lookups happen inside an InFlight pass: a page that was taken away is freed after a drain.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/mutex.h"
#include "thin/metadata/pool_metadata.h"

namespace karst::thin {

inline constexpr LockClass mapping_table_lock{"thin.mapping-table"};

// How many pages there may be.
class PageBudget {
 public:
  explicit PageBudget(uint64_t pages) : left_(static_cast<int64_t>(pages)) {}
  bool take() {
    if (left_.fetch_sub(1, std::memory_order_relaxed) > 0) return true;
    left_.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
  void give() { left_.fetch_add(1, std::memory_order_relaxed); }
  bool is_short() const { return left_.load(std::memory_order_relaxed) <= 0; }

 private:
  std::atomic<int64_t> left_;  // a number only: orders nothing
};

class MappingTable final : public MappingWatcher {
 public:
  static constexpr uint64_t page_entries = 512;

  MappingTable(uint64_t blocks, PageBudget& budget);
  ~MappingTable() override;
  MappingTable(const MappingTable&) = delete;
  MappingTable& operator=(const MappingTable&) = delete;

  enum class Known : uint8_t { unknown, unmapped, mapped };
  struct Entry {
    Known known = Known::unknown;
    Mapping mapping;
  };
  // Inside an InFlight pass.
  Entry find(VirtualBlock block) const;

  // Makes the page of this block, with nothing known, if it is not there and may be. Its blocks, for
  // PoolMetadata::tell().
  struct Range {
    VirtualBlock from{}, to{};
  };
  Range make_page(VirtualBlock block);

  // Only what pages there are is told.
  void mapped(VirtualBlock block, Mapping mapping) override;
  void unmapped(VirtualBlock from, VirtualBlock to) override;
  void forget_all() override;

  // Takes about half of the pages out. They are freed by the caller after a drain.
  struct Page {
    Page();
    std::array<std::atomic<uint64_t>, page_entries> entries;
  };
  using Pages = std::vector<std::unique_ptr<Page>>;
  Pages take_pages();

 private:
  std::atomic<Page*>& slot(VirtualBlock block) const { return pages_[raw(block) / page_entries]; }

  const uint64_t blocks_;
  PageBudget& budget_;
  std::unique_ptr<std::atomic<Page*>[]> pages_;
  Mutex mutex_{mapping_table_lock};  // for making and taking pages
  uint64_t hand_ GUARDED_BY(mutex_) = 0;
};

}  // namespace karst::thin

// What the cache's tests share. For tests.
#pragma once
#include <atomic>
#include <vector>

#include "cache/cache.h"

// Sanitizers catch faults themselves and hold memory of their own.
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define KARST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define KARST_SANITIZED 1
#endif
#endif

namespace karst::cache::testing {

inline std::byte byte_for(uint64_t index, size_t at = 0) {
  return static_cast<std::byte>((index * 131 + at * 7 + 1) & 0xff);
}
inline void paint(MutableBytes bytes, uint64_t index) {
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = byte_for(index, i);
}
inline bool painted(Bytes bytes, uint64_t index) {
  for (size_t i = 0; i < bytes.size(); ++i)
    if (bytes[i] != byte_for(index, i)) return false;
  return true;
}

// The folio, painted with its index if it was not there.
inline FolioRef get_painted(Cache& cache, ObjectId object, uint64_t index, uint32_t size = 4096,
                            Residence residence = Residence::always_mapped) {
  const auto fill = [&](MutableBytes bytes) -> Result<void> {
    paint(bytes, index);
    return {};
  };
  return cache.get({object, index}, size, residence, fill).value();
}

// Counts misuses, which then do not abort.
class MisuseTrap {
 public:
  MisuseTrap() {
    seen().clear();
    previous_ = set_misuse_handler([](Misuse misuse) { seen().push_back(misuse); });
  }
  ~MisuseTrap() { set_misuse_handler(previous_); }
  static std::vector<Misuse>& seen() {
    static std::vector<Misuse> misuses;
    return misuses;
  }

 private:
  MisuseHandler previous_;
};

}  // namespace karst::cache::testing

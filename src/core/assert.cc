#include "core/assert.h"

#include <cstdio>
#include <cstdlib>

namespace karst {

void assertion_failed(const char* text, const char* file, int line, const char* function) {
  std::fprintf(stderr, "karst: assertion failed: %s at %s:%d in %s\n", text, file, line, function);
  std::abort();
}

}  // namespace karst

// Assertions: our own logic is wrong, and nothing sensible can follow. Never for bytes that came from a
// device or a peer; those are errors (core/error.h).
//
// VERIFY stays in release: where it guards a write, a lifetime or memory. ASSERT is compiled in debug
// builds only (KARST_DEBUG), and checks what a comment would otherwise only claim (CO-003).
#pragma once

namespace karst {

// Prints "karst: assertion failed: text at file:line in function" to stderr and aborts.
[[noreturn]] void assertion_failed(const char* text, const char* file, int line, const char* function);

}  // namespace karst

#define VERIFY(...)                     \
  ((__VA_ARGS__) ? static_cast<void>(0) \
                 : ::karst::assertion_failed(#__VA_ARGS__, __FILE__, __LINE__, __func__))

#ifdef KARST_DEBUG
#define ASSERT(...) VERIFY(__VA_ARGS__)
#else
#define ASSERT(...) static_cast<void>(sizeof((__VA_ARGS__) ? 1 : 0))
#endif

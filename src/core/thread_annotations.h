// Clang's thread-safety annotations under their usual short names; nothing with other compilers.
// https://clang.llvm.org/docs/ThreadSafetyAnalysis.html
#pragma once

#if defined(__clang__)
#define KARST_THREAD_ANNOTATION(...) __attribute__((__VA_ARGS__))
#else
#define KARST_THREAD_ANNOTATION(...)
#endif

#define CAPABILITY(name) KARST_THREAD_ANNOTATION(capability(name))
#define SCOPED_CAPABILITY KARST_THREAD_ANNOTATION(scoped_lockable)
#define GUARDED_BY(lock) KARST_THREAD_ANNOTATION(guarded_by(lock))
#define PT_GUARDED_BY(lock) KARST_THREAD_ANNOTATION(pt_guarded_by(lock))
#define ACQUIRED_BEFORE(...) KARST_THREAD_ANNOTATION(acquired_before(__VA_ARGS__))
#define ACQUIRED_AFTER(...) KARST_THREAD_ANNOTATION(acquired_after(__VA_ARGS__))
#define REQUIRES(...) KARST_THREAD_ANNOTATION(requires_capability(__VA_ARGS__))
#define REQUIRES_SHARED(...) KARST_THREAD_ANNOTATION(requires_shared_capability(__VA_ARGS__))
#define ACQUIRE(...) KARST_THREAD_ANNOTATION(acquire_capability(__VA_ARGS__))
#define ACQUIRE_SHARED(...) KARST_THREAD_ANNOTATION(acquire_shared_capability(__VA_ARGS__))
#define RELEASE(...) KARST_THREAD_ANNOTATION(release_capability(__VA_ARGS__))
#define RELEASE_SHARED(...) KARST_THREAD_ANNOTATION(release_shared_capability(__VA_ARGS__))
#define RELEASE_GENERIC(...) KARST_THREAD_ANNOTATION(release_generic_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) KARST_THREAD_ANNOTATION(try_acquire_capability(__VA_ARGS__))
#define TRY_ACQUIRE_SHARED(...) KARST_THREAD_ANNOTATION(try_acquire_shared_capability(__VA_ARGS__))
#define EXCLUDES(...) KARST_THREAD_ANNOTATION(locks_excluded(__VA_ARGS__))
#define ASSERT_CAPABILITY(lock) KARST_THREAD_ANNOTATION(assert_capability(lock))
#define ASSERT_SHARED_CAPABILITY(lock) KARST_THREAD_ANNOTATION(assert_shared_capability(lock))
#define RETURN_CAPABILITY(lock) KARST_THREAD_ANNOTATION(lock_returned(lock))
#define NO_THREAD_SAFETY_ANALYSIS KARST_THREAD_ANNOTATION(no_thread_safety_analysis)

// What must not compile. Each is a concept that says whether an expression is well-formed.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/mutex.h"
#include "core/refcount.h"
#include "core/result.h"
#include "core/worker_pool.h"

namespace karst {
namespace {

// CO-014: an outcome, an error and a count are different things, and so are the numbers that the system calls
// errors; each is made into another only by name.
template <typename From, typename To>
concept converts = std::is_convertible_v<From, To>;

static_assert(!converts<int, Error> && !converts<int, Result<void>>, "an errno is no outcome: from_errno()");
static_assert(!converts<Error, int> && !converts<Result<void>, int>, "an outcome is no errno: errno_value()");
static_assert(!converts<Result<void>, bool>, "a status is tested, not stored as a truth value");
static_assert(!converts<Result<uint64_t>, uint64_t>, "a count is taken out by value() or TRY()");
static_assert(!converts<ErrorKind, int>);
static_assert(!std::is_default_constructible_v<Error>, "there is no error that means success");
static_assert(converts<Error, Result<void>> && converts<uint64_t, Result<uint64_t>>);

// CO-005: what has one owner cannot be copied by mistake.
template <typename T>
concept has_one_owner = !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(has_one_owner<Error> && has_one_owner<RefCount>);
static_assert(has_one_owner<Mutex> && has_one_owner<MutexLock> && has_one_owner<TaskGroup>);

// CO-006: there is no other way to what a lock guards than through it.
static_assert(has_one_owner<Guarded<int>> && !converts<Guarded<int>, int>);

}  // namespace
}  // namespace karst

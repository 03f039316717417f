// Where exceptions of the standard library end: as errors.
#pragma once
#include <new>
#include <system_error>
#include <type_traits>

#include "core/result.h"
#include "core/thread_annotations.h"

namespace karst {

// What the work returns, a Result; err::no_memory for std::bad_alloc, the system's error for
// std::system_error.
template <typename F>
std::invoke_result_t<F&> without_throwing(F&& work) NO_THREAD_SAFETY_ANALYSIS {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Error(err::no_memory, "not enough memory");
  } catch (const std::system_error& error) {
    return Error::from_errno(error.code().value(), error.what());
  }
}

}  // namespace karst

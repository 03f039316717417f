#include "core/mutex.h"

#include "core/assert.h"

namespace karst {

// Fails only if our own logic is wrong: EDEADLK for a writer that locks again, EAGAIN past 2^29 readers.
void SharedMutex::lock_native(lock_order::Mode mode) {
  int error =
      mode == lock_order::Mode::exclusive ? pthread_rwlock_wrlock(&native_) : pthread_rwlock_rdlock(&native_);
  VERIFY(error == 0);
}

}  // namespace karst

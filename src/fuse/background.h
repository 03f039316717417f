// Going into the background once something has been set up there.
//
//   Background background;
//   if (auto status = TRY(background.fork())) return *status;      // the parent: done, or failed
//   … the child opens, mounts; what it prints and its exit status reach the user …
//   TRY(background.ready());                                       // from here on it is a daemon
//
// Forking comes first, so no thread, ring or lock is ever carried over.
#pragma once
#include <optional>

#include "core/result.h"

namespace karst::fuse {

class Background {
 public:
  Background() = default;
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  // In the child: nothing. In the parent, when the child is ready or has ended: the exit status, 0 when
  // ready.
  Result<std::optional<int>> fork();
  // In the child: leaves the session, the working directory and the terminal; the parent returns.
  Result<void> ready();

 private:
  int pipe_ = -1;  // to the parent
};

}  // namespace karst::fuse

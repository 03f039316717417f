// Asking work to stop. The one who may ask has a CancelSource; the work has a CancelToken and looks at it
// between steps. A source made from a token is cancelled with it, so a part stops when the whole does.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "core/result.h"

namespace karst {

class CancelSource;

// Cheap to copy and to look at (a load for each level of nesting). The default one is never cancelled.
class CancelToken {
 public:
  CancelToken() = default;
  bool cancelled() const;
  // err::cancelled if so: TRY(token.check()).
  Result<void> check() const {
    if (cancelled()) [[unlikely]]
      return Error(err::cancelled, "cancelled");
    return {};
  }

 private:
  friend class CancelSource;
  struct State;
  explicit CancelToken(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

struct CancelToken::State {
  // Relaxed: it only says "stop"; what happened before is passed on by whatever waits for the work.
  mutable std::atomic<bool> flag{false};
  CancelToken parent;
};

inline bool CancelToken::cancelled() const {
  for (const State* state = state_.get(); state; state = state->parent.state_.get())
    if (state->flag.load(std::memory_order_relaxed)) return true;
  return false;
}

class CancelSource {
 public:
  explicit CancelSource(CancelToken parent = {}) {
    auto state = std::make_shared<CancelToken::State>();
    state->parent = std::move(parent);
    state_ = std::move(state);
  }
  // Any number of times, from any thread, and from a signal handler.
  void cancel() const { state_->flag.store(true, std::memory_order_relaxed); }
  CancelToken token() const { return CancelToken(state_); }
  bool cancelled() const { return token().cancelled(); }

 private:
  std::shared_ptr<const CancelToken::State> state_;
};
static_assert(std::atomic<bool>::is_always_lock_free);

}  // namespace karst

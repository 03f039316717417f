// What is being copied into new volumes of a pool: how far it is, and who may end it.
//
// Locks: thin.imports → progress. Thread-safe.
#pragma once
#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "block/device.h"
#include "core/cancel.h"
#include "core/mutex.h"
#include "core/progress.h"
#include "thin/format/ids.h"

namespace karst::thin {

inline constexpr LockClass imports_lock{"thin.imports"};

class Imports {
 public:
  struct Status {
    std::string name;
    std::optional<DeviceId> id;    // once it has one
    uint64_t done = 0, total = 0;  // bytes of the source
  };

  // One of them, from before its source is opened until its volume is there or is gone again.
  class Running {
   public:
    // Ends when the token is cancelled, too.
    Running(Imports& imports, std::string name, CancelToken cancel);
    ~Running();
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;
    // Whether another of that name runs: then this one should not.
    bool is_second() const { return second_; }
    CancelToken token() const { return stop_.token(); }
    void set_id(DeviceId id);
    // `unit` as block::CopyOptions has it.
    Result<void> copy(block::Device& from, block::Device& to, uint64_t unit);
    // The error of whatever part of it failed; err::cancelled if it was ended, whatever that looked like
    // below.
    Error failed(Error error) const;

   private:
    friend class Imports;
    Imports& imports_;
    const std::string name_;
    std::optional<DeviceId> id_;  // guarded by the imports' lock
    uint64_t number_ = 0;
    bool second_ = false;
    const CancelSource stop_;
    Progress progress_;
  };

  std::vector<Status> list() const;
  // Asks the one of that name or id to end, and waits until it has; false if there is none.
  bool end(std::string_view name_or_id);
  // Asks all to end, and those that are begun later; does not wait.
  void end_all();

 private:
  mutable Mutex mutex_{imports_lock};
  CondVar ended_;
  std::list<Running*> running_ GUARDED_BY(mutex_);
  uint64_t begun_ GUARDED_BY(mutex_) = 0;
  bool closed_ GUARDED_BY(mutex_) = false;
};

}  // namespace karst::thin

// Pools of compression workspaces: handed out one to a thread, kept for the next one, freed when idle
// (BT-082).
//
// Taking never fails, and waits only if there is no memory for another workspace: the pool always has one,
// so whoever waits gets it when its user is done. Hence the one rule: a thread that has a workspace takes no
// second one and does not wait for another thread that needs one. Debug builds report the first.
//
// Decompressors serve every codec and level, so one pool is enough; compressors are made for a codec and a
// level, and each pair has its pool.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "btrfs/file/compress.h"
#include "core/mutex.h"

namespace karst::btrfs {

inline constexpr LockClass workspace_pool_lock{"btrfs.compress.pool"};
inline constexpr LockClass workspace_lease{"btrfs.compress.workspace"};  // what take() waits for

template <typename Workspace>
class WorkspacePool {
 public:
  using Factory = std::function<Result<std::unique_ptr<Workspace>>()>;

  // Makes the first workspace, which lives as long as the pool.
  static Result<std::unique_ptr<WorkspacePool>> create(Factory factory);
  ~WorkspacePool();  // no lease is left
  WorkspacePool(const WorkspacePool&) = delete;
  WorkspacePool& operator=(const WorkspacePool&) = delete;

  // A workspace for the scope; it ends in the thread that began it.
  class Lease {
   public:
    ~Lease() { pool_.give_back(std::move(workspace_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Workspace* operator->() const { return workspace_.get(); }
    Workspace& operator*() const { return *workspace_; }

   private:
    friend class WorkspacePool;
    Lease(WorkspacePool& pool, std::unique_ptr<Workspace> workspace)
        : hold_(workspace_lease), pool_(pool), workspace_(std::move(workspace)) {}
    lock_order::Hold hold_;  // ends last
    WorkspacePool& pool_;
    std::unique_ptr<Workspace> workspace_;
  };
  Lease take();

  // Frees what was idle all the time since the last call: to be called now and then. Returns how many.
  size_t free_unused();
  // Under memory pressure: frees all that are idle, save the last. Returns how many.
  size_t free_idle();

  struct Statistics {
    size_t workspaces;  // that exist
    size_t idle;
    size_t waiting;  // threads
  };
  Statistics statistics() const;

 private:
  explicit WorkspacePool(Factory factory) : factory_(std::move(factory)) {}
  std::unique_ptr<Workspace> take_idle_locked() REQUIRES(mutex_);
  std::unique_ptr<Workspace> make();  // nullptr if there is no memory
  void give_back(std::unique_ptr<Workspace> workspace);
  size_t free_oldest(size_t most);

  const Factory factory_;
  mutable Mutex mutex_{workspace_pool_lock};
  CondVar returned_;
  // The one used last is at the end and goes out first. Has capacity for all that exist.
  std::vector<std::unique_ptr<Workspace>> idle_ GUARDED_BY(mutex_);
  size_t count_ GUARDED_BY(mutex_) = 0;  // that exist; at least one
  size_t waiting_ GUARDED_BY(mutex_) = 0;
  size_t idle_low_ GUARDED_BY(mutex_) = 0;  // fewest idle since free_unused()
};

using DecompressorPool = WorkspacePool<Decompressor>;
using CompressorPool = WorkspacePool<Compressor>;

Result<std::unique_ptr<DecompressorPool>> create_decompressor_pool();
Result<std::unique_ptr<CompressorPool>> create_compressor_pool(Compression type, int level);

extern template class WorkspacePool<Decompressor>;
extern template class WorkspacePool<Compressor>;

}  // namespace karst::btrfs

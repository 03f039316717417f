#include "btrfs/file/compress_pool.h"

#include <new>

#include "core/assert.h"

namespace karst::btrfs {

template <typename Workspace>
Result<std::unique_ptr<WorkspacePool<Workspace>>> WorkspacePool<Workspace>::create(Factory factory) {
  std::unique_ptr<WorkspacePool> pool(new WorkspacePool(std::move(factory)));
  std::unique_ptr<Workspace> first = TRY(pool->factory_());
  MutexLock lock(pool->mutex_);
  pool->count_ = 1;
  pool->idle_.push_back(std::move(first));
  return pool;
}

template <typename Workspace>
WorkspacePool<Workspace>::~WorkspacePool() {
  MutexLock lock(mutex_);
  VERIFY(idle_.size() == count_);
}

template <typename Workspace>
std::unique_ptr<Workspace> WorkspacePool<Workspace>::take_idle_locked() {
  mutex_.assert_held();
  if (idle_.empty()) return nullptr;
  auto workspace = std::move(idle_.back());
  idle_.pop_back();
  idle_low_ = std::min(idle_low_, idle_.size());
  return workspace;
}

template <typename Workspace>
std::unique_ptr<Workspace> WorkspacePool<Workspace>::make() {
  try {
    auto made = factory_();
    if (!made) return nullptr;
    MutexLock lock(mutex_);
    idle_.reserve(count_ + 1);
    ++count_;
    return std::move(made).value();
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

template <typename Workspace>
typename WorkspacePool<Workspace>::Lease WorkspacePool<Workspace>::take() {
  lock_order::passes(workspace_lease);
  std::unique_ptr<Workspace> workspace;
  {
    MutexLock lock(mutex_);
    workspace = take_idle_locked();
  }
  if (!workspace) workspace = make();
  if (!workspace) {
    MutexLock lock(mutex_);
    ++waiting_;
    while (!(workspace = take_idle_locked())) returned_.wait(mutex_);
    --waiting_;
  }
  return Lease(*this, std::move(workspace));
}

template <typename Workspace>
void WorkspacePool<Workspace>::give_back(std::unique_ptr<Workspace> workspace) {
  MutexLock lock(mutex_);
  ASSERT(idle_.capacity() >= count_);
  idle_.push_back(std::move(workspace));
  returned_.notify_one();
}

template <typename Workspace>
size_t WorkspacePool<Workspace>::free_oldest(size_t most) {
  for (size_t freed = 0;; ++freed) {
    std::unique_ptr<Workspace> oldest;  // ends without the lock
    MutexLock lock(mutex_);
    idle_low_ = idle_.size();
    if (freed == most || idle_.empty() || count_ == 1) return freed;
    oldest = std::move(idle_.front());
    idle_.erase(idle_.begin());
    --count_;
  }
}

template <typename Workspace>
size_t WorkspacePool<Workspace>::free_unused() {
  size_t unused;
  {
    MutexLock lock(mutex_);
    unused = idle_low_;
  }
  return free_oldest(unused);
}

template <typename Workspace>
size_t WorkspacePool<Workspace>::free_idle() {
  return free_oldest(SIZE_MAX);
}

template <typename Workspace>
typename WorkspacePool<Workspace>::Statistics WorkspacePool<Workspace>::statistics() const {
  MutexLock lock(mutex_);
  return {count_, idle_.size(), waiting_};
}

template class WorkspacePool<Decompressor>;
template class WorkspacePool<Compressor>;

Result<std::unique_ptr<DecompressorPool>> create_decompressor_pool() {
  return DecompressorPool::create([]() -> Result<std::unique_ptr<Decompressor>> {
    auto decompressor = std::make_unique<Decompressor>();
    TRY(decompressor->prepare());
    return decompressor;
  });
}

Result<std::unique_ptr<CompressorPool>> create_compressor_pool(Compression type, int level) {
  return CompressorPool::create([=] { return Compressor::create(type, level); });
}

}  // namespace karst::btrfs

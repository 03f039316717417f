#include "thin/home/imports.h"

#include <algorithm>

#include "block/abandon_on_cancel.h"
#include "block/copy.h"
#include "thin/home/volume_table.h"

namespace karst::thin {

Imports::Running::Running(Imports& imports, std::string name, CancelToken cancel)
    : imports_(imports), name_(std::move(name)), stop_(std::move(cancel)) {
  MutexLock lock(imports_.mutex_);
  second_ = std::ranges::find(imports_.running_, name_, &Running::name_) != imports_.running_.end();
  imports_.running_.push_back(this);
  number_ = ++imports_.begun_;
  if (imports_.closed_) stop_.cancel();
}

void Imports::Running::set_id(DeviceId id) {
  MutexLock lock(imports_.mutex_);
  id_ = id;
}

Error Imports::Running::failed(Error error) const {
  return stop_.cancelled() ? Error(err::cancelled, "the import was ended").at("volume", name_)
                           : std::move(error);
}

Imports::Running::~Running() {
  MutexLock lock(imports_.mutex_);
  imports_.running_.remove(this);
  imports_.ended_.notify_all();
}

Result<void> Imports::Running::copy(block::Device& from, block::Device& to, uint64_t unit) {
  const auto workers = TRY(WorkerPool::create({.name = "import", .threads = 2}));
  const auto watch = TRY(block::abandon_on_cancel(stop_.token(), {&from, &to}));
  TRY(block::copy_device(from, to, *workers, {.unit = unit, .cancel = stop_.token(), .progress = progress_}));
  return {};
}

std::vector<Imports::Status> Imports::list() const {
  MutexLock lock(mutex_);
  std::vector<Status> list;
  for (const Running* running : running_) {
    const Progress::Snapshot now = running->progress_.snapshot();
    list.push_back({running->name_, running->id_, now.bytes, now.bytes_total});
  }
  return list;
}

bool Imports::end(std::string_view name_or_id) {
  MutexLock lock(mutex_);
  const auto found = std::ranges::find_if(running_, [&](const Running* running) {
    return running->id_ ? means_volume(name_or_id, running->name_, *running->id_)
                        : name_or_id == running->name_;
  });
  if (found == running_.end()) return false;
  (*found)->stop_.cancel();
  // Another may have its address by then.
  const uint64_t number = (*found)->number_;
  const auto runs = [&]() REQUIRES(mutex_) {
    return std::ranges::find(running_, number, &Running::number_) != running_.end();
  };
  while (runs()) ended_.wait(mutex_);
  return true;
}

void Imports::end_all() {
  MutexLock lock(mutex_);
  closed_ = true;
  for (const Running* running : running_) running->stop_.cancel();
}

}  // namespace karst::thin

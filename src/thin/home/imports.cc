#include "thin/home/imports.h"

#include <algorithm>

#include "block/abandon_on_cancel.h"
#include "block/copy.h"

namespace karst::thin {

Imports::Running::Running(Imports& imports, std::string name, DeviceId id, CancelToken cancel)
    : imports_(imports), name_(std::move(name)), id_(id), stop_(std::move(cancel)) {
  MutexLock lock(imports_.mutex_);
  imports_.running_.push_back(this);
  if (imports_.closed_) stop_.cancel();
}

Imports::Running::~Running() {
  MutexLock lock(imports_.mutex_);
  imports_.running_.remove(this);
  imports_.ended_.notify_all();
}

Result<void> Imports::Running::copy(block::Device& from, block::Device& to, uint64_t unit) {
  const auto workers = TRY(WorkerPool::create({.name = "import", .threads = 2}));
  const block::AbandonOnCancel watch(stop_.token(), {&from, &to});
  auto copied =
      block::copy_device(from, to, *workers, {.unit = unit, .cancel = stop_.token(), .progress = progress_});
  if (copied) return {};
  if (stop_.cancelled()) return Error(err::cancelled, "the import was ended").at("volume", name_);
  return std::move(copied).error();
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

Imports::Running* Imports::find(std::string_view name_or_id) {
  const auto found = std::ranges::find_if(running_, [&](const Running* running) {
    return running->name_ == name_or_id || fmt::format("{}", running->id_) == name_or_id;
  });
  return found == running_.end() ? nullptr : *found;
}

bool Imports::end(std::string_view name_or_id) {
  MutexLock lock(mutex_);
  Running* running = find(name_or_id);
  if (running == nullptr) return false;
  running->stop_.cancel();
  while (std::ranges::find(running_, running) != running_.end()) ended_.wait(mutex_);
  return true;
}

void Imports::end_all() {
  MutexLock lock(mutex_);
  closed_ = true;
  for (const Running* running : running_) running->stop_.cancel();
}

}  // namespace karst::thin

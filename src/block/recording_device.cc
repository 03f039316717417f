#include "block/recording_device.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <set>

namespace karst::block {
namespace {

using Entry = WriteLog::Entry;

Entry::Kind kind_of(IoOp op) {
  switch (op) {
    case IoOp::write: return Entry::Kind::write;
    case IoOp::discard: return Entry::Kind::discard;
    case IoOp::write_zeroes: return Entry::Kind::write_zeroes;
    case IoOp::flush:
    case IoOp::read: break;
  }
  return Entry::Kind::flush;
}

bool changes_data(const Entry& entry) {
  return entry.kind != Entry::Kind::flush && entry.kind != Entry::Kind::mark;
}

}  // namespace

WriteLog::WriteLog(size_t memory_limit) : memory_limit_(memory_limit) {}

WriteLog::~WriteLog() {
  if (file_ >= 0) ::close(file_);
}

Result<size_t> WriteLog::start(const IoRequest& request, Lane lane) {
  MutexLock lock(mutex_);
  Entry entry;
  entry.kind = kind_of(request.op);
  entry.fua = has(request.flags, IoFlags::fua);
  entry.lane = lane.number;
  entry.offset = lane.offset + request.offset;
  entry.length = request.length;
  if (request.op == IoOp::write) entry.data = TRY(keep_locked(request.buffers, request.length));
  entry.started = next_point_++;
  entries_.push_back(std::move(entry));
  return entries_.size() - 1;
}

void WriteLog::complete(size_t entry, bool failed) {
  MutexLock lock(mutex_);
  entries_[entry].completed = next_point_++;
  entries_[entry].failed = failed;
}

void WriteLog::mark(std::string text) {
  MutexLock lock(mutex_);
  Entry entry;
  entry.text = std::move(text);
  entry.started = entry.completed = next_point_++;
  entries_.push_back(std::move(entry));
}

// Positions below memory_limit_ are in memory, the others in the file; one write is never in both.
Result<uint64_t> WriteLog::keep_locked(std::span<const iovec> buffers, uint64_t length) {
  if (file_ < 0 && length <= memory_limit_ - memory_.size()) {
    const uint64_t position = memory_.size();
    for_each_piece(buffers, [&](MutableBytes piece, uint64_t) {
      memory_.insert(memory_.end(), piece.begin(), piece.end());
    });
    return position;
  }
  if (file_ < 0) {
    const char* directory = std::getenv("TMPDIR");
    std::string path = std::string(directory != nullptr ? directory : "/tmp") + "/karst-write-log-XXXXXX";
    file_ = ::mkostemp(path.data(), O_CLOEXEC);
    if (file_ < 0) return Error::from_errno(errno, "cannot make a file for the write log").at("path", path);
    ::unlink(path.c_str());
  }
  const uint64_t position = spilled_;
  for (const iovec& buffer : buffers)
    for (size_t done = 0; done < buffer.iov_len;) {
      const ssize_t result = ::pwrite(file_, static_cast<const std::byte*>(buffer.iov_base) + done,
                                      buffer.iov_len - done, static_cast<off_t>(spilled_));
      if (result < 0 && errno == EINTR) continue;
      if (result <= 0) return Error::from_errno(errno, "cannot write to the write log");
      done += static_cast<size_t>(result);
      spilled_ += static_cast<uint64_t>(result);
    }
  return memory_limit_ + position;
}

Result<void> WriteLog::read_data(const Entry& entry, uint64_t position, MutableBytes destination) const {
  position += entry.data;
  if (entry.data < memory_limit_) {
    std::memcpy(destination.data(), memory_.data() + position, destination.size());
    return {};
  }
  for (size_t done = 0; done < destination.size();) {
    const ssize_t result = ::pread(file_, destination.data() + done, destination.size() - done,
                                   static_cast<off_t>(position - memory_limit_ + done));
    if (result < 0 && errno == EINTR) continue;
    if (result <= 0) return Error::from_errno(errno, "cannot read the write log");
    done += static_cast<size_t>(result);
  }
  return {};
}

Result<void> RecordingDevice::perform(const IoRequest& request) {
  if (request.op == IoOp::read) return below_.resubmit_unaccounted(request.again());
  if (has(request.flags, IoFlags::nowait)) return failed_request(*this, request, EAGAIN);  // the log may wait
  const size_t entry = TRY(log_.start(request, lane_));
  Result<void> outcome = below_.resubmit_unaccounted(request.again());
  log_.complete(entry, !outcome);
  return outcome;
}

namespace {

// Which blocks of an entry are there; empty means all.
using Survivors = std::vector<bool>;

// Does one entry, or what survives of it, to the target.
Result<void> apply(const WriteLog& log, const Entry& entry, const Survivors& survivors, Device& target) {
  const uint64_t unit = target.block_size();
  constexpr uint64_t step_max = 1 << 20;
  std::vector<std::byte> bytes;
  for (uint64_t done = 0; done < entry.length;) {
    uint64_t step = std::min(step_max, entry.length - done);
    if (!survivors.empty()) {
      step = std::min(unit, entry.length - done);
      if (!survivors[done / unit]) {
        done += step;
        continue;
      }
    }
    if (entry.kind == Entry::Kind::write) {
      bytes.resize(step);
      TRY(log.read_data(entry, done, bytes));
      TRY(target.write(entry.offset + done, bytes));
    } else {
      TRY(target.write_zeroes(entry.offset + done, step));
    }
    done += step;
  }
  return {};
}

// When what completed before some point became stable by a flush of one lane.
class Flushes {
 public:
  Flushes(const std::vector<Entry>& entries, unsigned lane) {
    for (const Entry& entry : entries)
      if (entry.kind == Entry::Kind::flush && entry.lane == lane && entry.completed != 0 && !entry.failed)
        flushes_.emplace_back(entry.started, entry.completed);
    std::ranges::sort(flushes_);
    // The first that ends counts: go through flushes from the last started to the first, keeping the earliest
    // end.
    earliest_end_.assign(flushes_.size() + 1, UINT64_MAX);
    for (size_t i = flushes_.size(); i-- > 0;)
      earliest_end_[i] = std::min(earliest_end_[i + 1], flushes_[i].second);
  }
  uint64_t end_of_first_after(uint64_t point) const {
    const auto flush = std::ranges::upper_bound(flushes_, std::pair(point, UINT64_MAX));
    return earliest_end_[static_cast<size_t>(flush - flushes_.begin())];
  }

 private:
  std::vector<std::pair<uint64_t, uint64_t>> flushes_;  // start, end
  std::vector<uint64_t> earliest_end_;
};

// The point from which an entry is stable; the maximum if it never is.
std::vector<uint64_t> stable_points(const std::vector<Entry>& entries) {
  std::map<unsigned, Flushes> lanes;
  for (const Entry& entry : entries) lanes.try_emplace(entry.lane, entries, entry.lane);
  std::vector<uint64_t> points(entries.size(), UINT64_MAX);
  for (size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    if (!changes_data(entry) || entry.completed == 0 || entry.failed) continue;
    points[i] = lanes.at(entry.lane).end_of_first_after(entry.completed);
    if (entry.fua) points[i] = std::min(points[i], entry.completed);
  }
  return points;
}

// The crashes at one point of the log: a stable image, and what is in doubt over it.
class CrashWalk {
 public:
  CrashWalk(const WriteLog& log, Device& base, const CrashPlan& plan,
            FunctionRef<Result<void>(const CrashState&)> each)
      : log_(log),
        base_(base),
        plan_(plan),
        each_(each),
        random_(plan.seed),
        stable_points_(stable_points(log.entries())),
        stable_(base) {
    for (const Entry& entry : log.entries())
      if (entry.kind == Entry::Kind::mark) marks_.push_back(entry.started);
  }
  Result<void> run();

 private:
  std::vector<uint64_t> cuts();
  Result<void> advance(uint64_t point);
  Result<void> crash_at(uint64_t point);
  template <typename F>
  Result<void> try_one(uint64_t point, std::string what, F&& survivors_of);

  const WriteLog& log_;
  Device& base_;
  const CrashPlan& plan_;
  FunctionRef<Result<void>(const CrashState&)> each_;
  std::mt19937_64 random_;
  const std::vector<uint64_t> stable_points_;  // of each entry
  std::vector<uint64_t> marks_;                // points, ascending

  // Entries become stable out of order; one that is stable while an earlier one is in doubt is applied over
  // that one in each image, until both are stable.
  OverlayDevice stable_;
  size_t applied_ = 0;  // entries before this are in stable_
};

std::vector<uint64_t> CrashWalk::cuts() {
  std::set<uint64_t> points{log_.end()};
  uint64_t last = 1;
  std::set<uint64_t> barriers;
  for (const Entry& entry : log_.entries())
    if (entry.completed != 0 && (entry.kind == Entry::Kind::flush || entry.fua))
      barriers.insert(entry.completed);
  for (const uint64_t barrier : barriers) {
    points.insert(barrier);
    if (plan_.between_barriers && barrier > last + 1)
      points.insert(last + 1 + random_() % (barrier - last - 1));
    last = barrier;
  }
  return {points.begin(), points.end()};
}

// Moves the image on to what is stable just before `point`, as far as nothing in doubt lies below it.
Result<void> CrashWalk::advance(uint64_t point) {
  const auto& entries = log_.entries();
  while (applied_ < entries.size() && entries[applied_].started < point) {
    const Entry& entry = entries[applied_];
    if (changes_data(entry)) {
      if (stable_points_[applied_] >= point) break;
      TRY(apply(log_, entry, {}, stable_));
    }
    ++applied_;
  }
  return {};
}

// One image: survivors_of(number, blocks) says what is left of each entry in doubt, or nothing for all of it.
template <typename F>
Result<void> CrashWalk::try_one(uint64_t point, std::string what, F&& survivors_of) {
  const auto& entries = log_.entries();
  OverlayDevice image(static_cast<Device&>(stable_));
  const auto marks = static_cast<size_t>(std::ranges::lower_bound(marks_, point) - marks_.begin());
  size_t number = 0;
  for (size_t i = applied_; i < entries.size() && entries[i].started < point; ++i) {
    const Entry& entry = entries[i];
    if (!changes_data(entry)) continue;
    Survivors survivors;
    if (stable_points_[i] >= point) {
      const size_t blocks = (entry.length + base_.block_size() - 1) / base_.block_size();
      survivors = survivors_of(number++, blocks);
    }
    TRY(apply(log_, entry, survivors, image));
  }
  const CrashState state{image, point, marks,
                         fmt::format("crash at {} of {}: {}, seed {}", point, log_.end(), what, plan_.seed)};
  return each_(state).context([&] { return state.description; });
}

Result<void> CrashWalk::crash_at(uint64_t point) {
  TRY(advance(point));
  size_t in_doubt = 0;
  const auto& entries = log_.entries();
  for (size_t i = applied_; i < entries.size() && entries[i].started < point; ++i)
    if (changes_data(entries[i]) && stable_points_[i] >= point) ++in_doubt;

  TRY(try_one(point, "nothing unstable is left",
              [](size_t, size_t blocks) { return Survivors(blocks, false); }));
  if (in_doubt == 0) return {};
  TRY(try_one(point, "everything is left", [](size_t, size_t) { return Survivors(); }));
  for (unsigned sample = 0; sample < plan_.samples; ++sample) {
    std::mt19937_64 random(plan_.seed ^ point * 0x9e3779b97f4a7c15 ^ sample);
    const uint64_t share = 1 + random() % 7;  // in eighths
    const auto draw = [&] { return random() % 8 < share; };
    const std::string what = fmt::format("sample {} of {} requests in doubt", sample, in_doubt);
    if (sample % 3 == 0) {
      const size_t first_lost = random() % in_doubt;
      TRY(try_one(point, what + ", the first of them", [&](size_t number, size_t blocks) {
        return number < first_lost ? Survivors() : Survivors(blocks, false);
      }));
    } else if (sample % 3 == 1) {
      TRY(try_one(point, what + ", some whole",
                  [&](size_t, size_t blocks) { return Survivors(blocks, draw()); }));
    } else {
      TRY(try_one(point, what + ", torn", [&](size_t, size_t blocks) {
        Survivors survivors(blocks);
        for (size_t block = 0; block < blocks; ++block) survivors[block] = draw();
        return survivors;
      }));
    }
  }
  return {};
}

Result<void> CrashWalk::run() {
  for (const uint64_t point : cuts()) TRY(crash_at(point));
  return {};
}

}  // namespace

Result<void> replay(const WriteLog& log, uint64_t point, Device& target) {
  for (const Entry& entry : log.entries())
    if (changes_data(entry) && entry.started < point) TRY(apply(log, entry, {}, target));
  return {};
}

Result<void> for_each_crash(const WriteLog& log, Device& base, const CrashPlan& plan,
                            FunctionRef<Result<void>(const CrashState&)> each) {
  return CrashWalk(log, base, plan, each).run();
}

}  // namespace karst::block

// Restoring from spoiled images in tests: what came over, in the form of the kernel's manifest, and what was
// told to be lost.
#pragma once
#include <atomic>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "btrfs/tool/restore/restore.h"
#include "btrfs/tool/testing_image.h"
#include "btrfs/tool/testing_mutation.h"
#include "core/mutex.h"

namespace karst::btrfs::testing {

using Devices = std::vector<std::unique_ptr<block::Device>>;

// Keeps everything in memory.
class RecordingTarget final : public CopyTarget {
 public:
  std::unique_ptr<Part> new_part() override { return std::make_unique<Part>(); }
  Result<void> add(Part&, CopiedEntry& entry, Bytes contents, Failures) override {
    MutexLock lock(mutex_);
    Json& found = record_locked(entry);
    if (!entry.has_contents()) return {};
    Sha256 digest;
    digest.add(contents);
    found["sha256"] = digest.text();
    return {};
  }
  Result<void> begin_pieces(Part&, CopiedEntry& entry) override {
    MutexLock lock(mutex_);
    record_locked(entry);
    large_[entry.path].resize(std::min<uint64_t>(entry.attributes.size, size_max));
    return {};
  }
  Result<void> add_piece(Part&, const CopiedEntry& entry, uint64_t offset, Bytes contents, Failures,
                         bool) override {
    MutexLock lock(mutex_);
    auto& bytes = large_[entry.path];
    bytes.resize(std::min<uint64_t>(entry.attributes.size, size_max));
    if (offset + contents.size() <= bytes.size())
      std::copy(contents.begin(), contents.end(), bytes.begin() + static_cast<ptrdiff_t>(offset));
    return {};
  }
  Result<void> take(Part&) override { return {}; }

  // By path in the copy, "/" first, as in the kernel's manifest.
  Manifest manifest() {
    MutexLock lock(mutex_);
    for (const auto& [path, bytes] : large_) {
      Sha256 digest;
      digest.add(bytes);
      entries_["/" + escape(path)]["sha256"] = digest.text();
    }
    return entries_;
  }

 private:
  static constexpr uint64_t size_max = 64 << 20;

  Json& record_locked(const CopiedEntry& entry) REQUIRES(mutex_) {
    const Attributes& attributes = entry.attributes;
    Json& found = entries_["/" + escape(entry.path)];
    if (!entry.hardlink.empty()) {
      found = {{"hardlink", "/" + escape(entry.hardlink)}};
      return found;
    }
    found = {{"type", type_name(attributes.mode)},
             {"mode", fmt::format("{:04o}", attributes.mode & 07777)},
             {"uid", attributes.uid},
             {"gid", attributes.gid},
             {"mtime", time_text(attributes.mtime)},
             {"xattrs", Json::object()}};
    for (const auto& [name, value] : entry.xattrs) found["xattrs"][escape(name)] = hex(as_bytes(value));
    if (attributes.is_symlink()) found["target"] = escape(entry.symlink);
    if (attributes.is_regular()) found["size"] = attributes.size;
    return found;
  }

  static constexpr LockClass lock_class{"test.recording-target"};
  Mutex mutex_{lock_class};
  Manifest entries_ GUARDED_BY(mutex_);
  std::map<std::string, std::vector<std::byte>> large_ GUARDED_BY(mutex_);
};

// Takes everything, up to so many bytes, and keeps nothing.
class NullTarget final : public CopyTarget {
 public:
  explicit NullTarget(uint64_t bytes_max) : left_(static_cast<int64_t>(bytes_max)) {}
  std::unique_ptr<Part> new_part() override { return std::make_unique<Part>(); }
  Result<void> add(Part&, CopiedEntry&, Bytes contents, Failures) override { return take_in(contents); }
  Result<void> begin_pieces(Part&, CopiedEntry&) override { return {}; }
  Result<void> add_piece(Part&, const CopiedEntry&, uint64_t, Bytes contents, Failures, bool) override {
    return take_in(contents);
  }
  Result<void> take(Part&) override { return {}; }

 private:
  Result<void> take_in(Bytes contents) {
    if (left_.fetch_sub(static_cast<int64_t>(contents.size())) < 0)
      return Error(karst::err::no_space, "that is enough");
    return {};
  }
  std::atomic<int64_t> left_;
};

// Restores all that can be had of spoiled devices into nothing, and looks for roots; that it ends is what is
// tested.
class Salvager {
 public:
  explicit Salvager(uint64_t bytes_max) : bytes_max_(bytes_max) {}

  struct Outcome {
    bool opened = false;
    uint64_t entries = 0, losses = 0;
  };
  // `devices` is called for each opening.
  Outcome run(FunctionRef<Devices()> devices, const DamagedOpenOptions& open) {
    Outcome outcome;
    look_for_roots(devices(), open);
    auto image = DamagedImage::open(devices(), open, cache_, Logger(log_));
    if (!image) return outcome;
    outcome.opened = true;
    RestoreOptions options;
    options.subvolume = open.subvolume;
    options.snapshots = true;
    options.copy.memory = 4 << 20;
    options.copy.give_unverified = open.ignore_checksums;
    NullTarget target(bytes_max_);
    auto report = restore(**image, options, &target, *pool_, [&](const CopyLoss& loss) {
      if (loss.error.message().empty()) std::abort();
      ++outcome.losses;
    });
    if (report) outcome.entries = report->copied.entries;
    for (const LostBlock& block : (*image)->damage().blocks())
      if (block.first > block.last || block.reason.empty()) std::abort();
    return outcome;
  }

  const cache::Cache& cache() const { return cache_; }

 private:
  void look_for_roots(Devices devices, const DamagedOpenOptions& open) {
    Damage damage;
    auto opened = open_damaged_volume(std::move(devices), open, cache_, damage, Logger(log_));
    if (!opened) return;
    RootCandidates candidates;
    (void)scan_chunks(*opened->volume, block_group::metadata | block_group::system, {},
                      [&](const TreeBlock& block) -> Result<void> {
                        candidates.add(block);
                        return {};
                      });
  }

  const uint64_t bytes_max_;
  FormattingSink log_;
  std::unique_ptr<WorkerPool> pool_ = *WorkerPool::create({.name = "salvage", .threads = 2});
  cache::Cache cache_{{.limit = 16 << 20}};
};

struct Restored {
  Manifest entries;
  std::map<InodeId, std::string> paths;  // the last name of each inode in the copy, escaped, with a slash
  struct Loss {
    CopyLoss::Kind kind;
    std::string path;
    uint64_t offset, length;
    std::string message;
  };
  std::vector<Loss> losses;
  std::vector<LostBlock> blocks;
  std::string root_source;
  size_t empty_subvolumes = 0;
  uint64_t tolerated = 0;  // blocks that were not as they should be
  bool log_is_unused = false, root_is_stand_in = false;

  bool tells(CopyLoss::Kind kind, const std::string& path) const {
    for (const Loss& loss : losses)
      if (loss.kind == kind && loss.path == path) return true;
    return false;
  }
  std::string text() const {
    std::string lines;
    for (const Loss& loss : losses)
      lines += fmt::format("{} {} {}+{}: {}\n", loss_name(loss.kind), loss.path, loss.offset, loss.length,
                           loss.message);
    for (const LostBlock& block : blocks)
      lines += fmt::format("block {} of tree {}, {} to {}: {}\n", block.bytenr, block.tree, block.first,
                           block.last, block.reason);
    return lines;
  }
};

// Without a target a dry run, of which there are no entries.
inline Result<Restored> restore_into(RecordingTarget* target, Devices devices, DamagedOpenOptions open,
                                     RestoreOptions options) {
  cache::Cache cache({.limit = 32 << 20});
  auto image = TRY(DamagedImage::open(std::move(devices), open, cache, Logger()));
  auto pool = TRY(WorkerPool::create({.name = "restore", .threads = 2}));
  Restored restored;
  restored.root_source = image->root_source();
  options.seen = [&](const WalkEntry& entry) {
    restored.paths[entry.id] = "/" + escape(entry.path);
    restored.empty_subvolumes += entry.id.is_empty_subvolume();
  };
  TRY(restore(*image, options, target, *pool, [&](const CopyLoss& loss) {
    restored.losses.push_back(
        {loss.kind, "/" + escape(loss.path), loss.offset, loss.length, loss.error.message()});
  }));
  if (target) restored.entries = target->manifest();
  restored.blocks = image->damage().blocks();
  restored.tolerated = image->fs().blocks_tolerated();
  restored.root_is_stand_in = image->root_is_stand_in();
  restored.log_is_unused = image->log_is_unused();
  return restored;
}

inline Result<Restored> restore_all(Devices devices, DamagedOpenOptions open = {},
                                    RestoreOptions options = {}) {
  RecordingTarget target;
  return restore_into(&target, std::move(devices), std::move(open), std::move(options));
}

inline Result<Restored> restore_nothing(Devices devices, DamagedOpenOptions open = {},
                                        RestoreOptions options = {}) {
  return restore_into(nullptr, std::move(devices), std::move(open), std::move(options));
}

}  // namespace karst::btrfs::testing

#include "btrfs/tool/build/resolve_links.h"

#include "btrfs/tool/build/directory_queue.h"
#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/fold.h"
#include "btrfs/tool/build/paths.h"
#include "btrfs/tool/build/raw_groups.h"

namespace karst::btrfs::build {
namespace {
constexpr int max_passes = 16;

class LinkPass {
 public:
  LinkPass(const ExternalSorter& raw, const ExternalSorter* before, const Placement& placement,
           const InventoryOptions& options, bool report)
      : groups_(raw, before),
        placement_(placement),
        options_(options),
        report_(report),
        fold_({options.default_time}),
        removed_(options.temporary_directory),
        found_({.memory = options.memory / 8, .directory = options.temporary_directory}) {}

  Result<void> run() {
    while (TRY(groups_.next_path())) TRY(one_path());
    return found_.finish();
  }
  ExternalSorter take_found() { return std::move(found_); }
  uint64_t found() const { return found_.record_count(); }
  uint64_t waiting() const { return waiting_; }  // links to links that are not known yet
  uint64_t failed() const { return failed_; }

 private:
  Result<void> one_path();
  Result<uint64_t> barrier_above(const KeyView& path);
  Result<void> target_of(const Record& request);
  Result<void> fail(const Record& request, const char* why);

  RawGroups groups_;
  const Placement& placement_;
  const InventoryOptions& options_;
  const bool report_;
  Fold fold_;
  DirectoryQueue removed_;  // paths below which something was taken away, and below those all
  RecordBytes parent_key_;
  std::string path_;      // absolute, of the group
  bool unknown_ = false;  // the path is a link that is not resolved yet
  ExternalSorter found_;
  uint64_t waiting_ = 0, failed_ = 0;
  RecordBytes scratch_;
};

Result<uint64_t> LinkPass::barrier_above(const KeyView& path) {
  if (path.depth() == 0) {
    removed_.clear();
    return 0;
  }
  encode_parent_key(parent_key_, path);
  const auto above = TRY(removed_.find(parent_key_));
  return above ? above->barrier.value() : 0;
}

Result<void> LinkPass::one_path() {
  decode_path(groups_.path().raw_path(), path_);
  path_ = join_paths(placement_.path_of(groups_.path().subvolume()), path_);
  fold_.begin(TRY(barrier_above(groups_.path())), path_);
  unknown_ = false;
  while (TRY(groups_.next_record())) {
    const RecordKind kind = kind_of(groups_.value());
    if (kind == RecordKind::link_target) {
      TRY(target_of(decode_record(groups_.value(), "")));
    } else if (kind == RecordKind::link) {
      const std::optional<Bytes> known = TRY(groups_.resolved());
      unknown_ = !known;
      if (known) TRY(fold_.apply(groups_.sequence(), *known));
    } else {
      if (kind == RecordKind::put || kind == RecordKind::remove) unknown_ = false;
      // What fails here fails again when paths are settled, and is told there.
      (void)fold_.apply(groups_.sequence(), groups_.value());
    }
  }
  return fold_.barrier() > 0 ? removed_.push(groups_.path().place, {0, fold_.barrier()}) : Result<void>();
}

Result<void> LinkPass::target_of(const Record& request) {
  if (unknown_) {
    ++waiting_;
    return report_ ? fail(request, "is a link to nothing, or the end of too long a chain of links")
                   : Result<void>();
  }
  TRY(fold_.name_as_link_target(groups_.sequence()));
  if (!fold_.exists()) return fail(request, "is not there");
  if (fold_.is_directory()) return fail(request, "is a directory");
  // Without a path to be the tail of, the origin's is kept whole, as the other name needs it.
  encode_record(scratch_, decode_record(fold_.value(), path_), "");
  return found_.add(request.target, scratch_);
}

Result<void> LinkPass::fail(const Record& request, const char* why) {
  ++failed_;
  if (!report_) return {};
  std::string name;
  const KeyView link = view_key(request.target);
  decode_path(link.raw_path(), name);
  Error error =
      Error::make(err::source_link_target, "/{} is a hard link, but /{} {}",
                  shown_path(join_paths(placement_.path_of(link.subvolume()), name)), shown_path(path_), why);
  return options_.errors ? options_.errors->failed(std::move(error)) : std::move(error);
}
}  // namespace

Result<ExternalSorter> resolve_links(const ExternalSorter& raw, const Placement& placement,
                                     const InventoryOptions& options) {
  std::optional<ExternalSorter> before;
  uint64_t found_before = 0;
  for (int n = 0;; ++n) {
    LinkPass pass(raw, before ? &*before : nullptr, placement, options, false);
    TRY(pass.run());
    const bool last = pass.waiting() == 0 || pass.found() == found_before || n == max_passes;
    if (last && pass.waiting() + pass.failed() > 0) {
      LinkPass telling(raw, before ? &*before : nullptr, placement, options, true);
      TRY(telling.run());
    }
    if (last) return pass.take_found();
    found_before = pass.found();
    before.emplace(pass.take_found());
  }
}

}  // namespace karst::btrfs::build

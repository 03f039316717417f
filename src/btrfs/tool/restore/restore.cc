#include "btrfs/tool/restore/restore.h"

#include <regex.h>

#include <unordered_set>

#include "btrfs/file/lost_inode.h"

namespace karst::btrfs {
namespace {

class PathPattern {
 public:
  static Result<std::shared_ptr<PathPattern>> compile(const std::string& pattern, bool ignore_case) {
    std::shared_ptr<PathPattern> made(new PathPattern);
    const int status =
        regcomp(&made->regex_, pattern.c_str(), REG_EXTENDED | REG_NOSUB | (ignore_case ? REG_ICASE : 0));
    if (status == 0) {
      made->compiled_ = true;
      return made;
    }
    char text[256];
    regerror(status, &made->regex_, text, sizeof text);
    return Error(karst::err::invalid, fmt::format("--path-regex: {}", text));
  }
  ~PathPattern() {
    if (compiled_) regfree(&regex_);
  }
  bool matches(const std::string& path) const { return regexec(&regex_, path.c_str(), 0, nullptr, 0) == 0; }

 private:
  PathPattern() = default;
  regex_t regex_{};
  bool compiled_ = false;
};

// The directory with the lowest number that has an entry.
Result<uint64_t> first_directory(const Tree& tree) {
  Cursor cursor(tree);
  uint64_t inode = id::first_free;
  while (TRY(cursor.seek({inode, ItemType::dir_index, 0})) && cursor.key().objectid <= id::last_free) {
    if (cursor.key().type == ItemType::dir_index) return cursor.key().objectid;
    inode = cursor.key().objectid + (cursor.key().type > ItemType::dir_index);
  }
  return Error(karst::err::not_found, "no directory with entries is left").at("tree", root_name(tree.id));
}

struct Start {
  Located located;
  bool attributes_lost = false;
};

Result<Start> start_of(const Filesystem& fs, const RestoreOptions& options) {
  const Root root = TRY(fs.root(options.subvolume));
  const Tree tree = TRY(fs.tree(options.subvolume));
  uint64_t inode = root.item.root_dirid == 0 ? id::first_free : root.item.root_dirid.value();
  if (options.first_directory) inode = TRY(first_directory(tree));
  const InodeId id{options.subvolume, inode};
  Cursor cursor(tree);
  bool lost = false;
  auto attributes = attributes_or_rest(cursor, inode, FileType::directory, lost);
  if (attributes) return Start{{id, id, *attributes}, lost};
  // A block that stands in for the root need not have it.
  Attributes made{};
  made.inode = inode;
  made.mode = S_IFDIR | 0700;
  made.nlink = 1;
  return Start{{id, id, made}, true};
}

// Tells of files what a copy would or more, without their contents.
class DryRun {
 public:
  DryRun(const Filesystem& fs, LossListener lost) : fs_(fs), lost_(lost) {}

  void look_at(const WalkEntry& entry) {
    if (entry.attributes.is_directory()) return;  // told by the walk
    const std::string path(entry.path);
    const bool again = entry.attributes.nlink > 1 && !linked_.insert(entry.id).second;
    auto doubtful = is_doubtful(entry.id, again);
    if (!doubtful)
      lost_({CopyLoss::Kind::extents, path, 0, 0, std::move(doubtful).error()});
    else if (*doubtful)
      lost_(older_file(path, entry.id.inode));
  }

 private:
  // All items are read first, which notes what is wrong with them, unless that was done for another name.
  Result<bool> is_doubtful(InodeId id, bool were_read) {
    if (subvolume_ != id.subvolume) {
      cursor_ = Cursor(TRY(fs_.tree(id.subvolume)));
      subvolume_ = id.subvolume;
    }
    const Key first = first_key_of(id.inode), last = last_key_of(id.inode);
    if (!were_read)
      for (bool at = TRY(cursor_.seek(first)); at && cursor_.key() <= last;) at = TRY(cursor_.next());
    return cursor_.is_doubtful(first, last);
  }

  const Filesystem& fs_;
  LossListener lost_;
  uint64_t subvolume_ = 0;
  Cursor cursor_;                       // of that subvolume's tree
  std::unordered_set<InodeId> linked_;  // inodes with several names that were looked at
};

}  // namespace

Result<RestoreReport> restore(const DamagedImage& image, const RestoreOptions& options, CopyTarget* target,
                              WorkerPool& pool, LossListener lost) {
  SalvageOptions salvage{.cross_subvolumes = options.snapshots,
                         .repeat_directories = target && options.repeat_directories,
                         .seen = options.seen};
  if (options.path_regex) {
    auto pattern = TRY(PathPattern::compile(*options.path_regex, options.ignore_case));
    salvage.wanted = [pattern](const std::string& path) { return pattern->matches('/' + path); };
  }
  const Start start = TRY(start_of(image.fs(), options).context([] { return "finding where to start"; }));
  SalvageWalk walk(image.fs(), start.located, start.attributes_lost, std::move(salvage), lost);
  RestoreReport report;
  if (target) {
    report.copied = TRY(copy_tree(image.fs(), image.data(), walk, *target, options.copy, pool, lost));
  } else {
    DryRun dry_run(image.fs(), lost);
    for (auto entry = TRY(walk.next()); entry; entry = TRY(walk.next())) {
      TRY(options.copy.cancel.check());
      dry_run.look_at(*entry);
      ++report.copied.entries;
      options.copy.progress.add(0, 1);
    }
  }
  report.subvolumes_skipped = walk.subvolumes_skipped();
  return report;
}

}  // namespace karst::btrfs

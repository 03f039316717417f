#include "btrfs/tool/build/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "btrfs/tool/build/archive_source.h"
#include "btrfs/tool/build/directory_source.h"
#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/oci_layout.h"
#include "btrfs/tool/build/paths.h"
#include "btrfs/tool/build/plan.h"

namespace karst::btrfs::build {
namespace {

// Whether a file begins like JSON's objects do; no archive does.
Result<bool> begins_with_brace(int fd, const std::string& location) {
  char bytes[64];
  const ssize_t size = ::pread(fd, bytes, sizeof bytes, 0);
  if (size < 0) return source_error(errno, "reading", location, "");
  const std::string_view text(bytes, static_cast<size_t>(size));
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != text.npos && text[first] == '{';
}

Result<SourceKind> find_kind(const SourceSpec& spec) {
  if (spec.location == "-") return SourceKind::archive;
  UniqueFd fd(::open(spec.location.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status;
  if (!fd || ::fstat(fd.get(), &status) != 0) return source_error(errno, "opening", spec.location, "");
  if (S_ISDIR(status.st_mode))
    return TRY(is_oci_layout(fd.get(), spec.location)) ? SourceKind::oci_layout : SourceKind::directory;
  if (S_ISREG(status.st_mode) && TRY(begins_with_brace(fd.get(), spec.location))) return SourceKind::plan;
  return SourceKind::archive;  // regular, or a pipe
}

// In a plan, what is no directory is one file, unless it is for the root, or the plan says more.
Result<SourceSpec> settled_in_plan(SourceSpec spec) {
  if (spec.kind != SourceKind::automatic) return spec;
  spec.kind = TRY(find_kind(spec));
  if (spec.kind == SourceKind::archive || spec.kind == SourceKind::plan)
    spec.kind = spec.target.empty() ? SourceKind::archive : SourceKind::file;
  return spec;
}

Result<SourceSpec> settled(SourceSpec spec) {
  if (spec.kind == SourceKind::automatic) spec.kind = TRY(find_kind(spec));
  spec.target = TRY(normalize_path(spec.target));
  return spec;
}

Result<void> refuse_image(const std::string& location, const SourceOptions& options) {
  struct stat status;
  const int failed = location == "-" ? ::fstat(STDIN_FILENO, &status) : ::stat(location.c_str(), &status);
  if (failed || !options.excludes(status.st_dev, status.st_ino)) return {};
  return Error::make(karst::err::invalid, "{}: the image that is made cannot be one of its sources",
                     shown_path(location));
}

// What is said of a plan holds for its sources, too, unless it says more of them itself.
SourceSpec inherited(SourceSpec source, const SourceSpec& plan) {
  source.one_file_system |= plan.one_file_system;
  if (source.oci_platform.empty()) source.oci_platform = plan.oci_platform;
  if (source.oci_reference.empty()) source.oci_reference = plan.oci_reference;
  SourceOverrides& own = source.overrides;
  const SourceOverrides& outer = plan.overrides;
  if (!own.uid) own.uid = outer.uid;
  if (!own.gid) own.gid = outer.gid;
  own.keep_xattrs &= outer.keep_xattrs;
  return source;
}
}  // namespace

bool SourceOptions::excludes(dev_t device, ino_t inode) const {
  return std::find(exclude.begin(), exclude.end(), std::pair(device, inode)) != exclude.end();
}

SourceSpec SourceSpec::parse(std::string_view argument) {
  struct Prefix {
    std::string_view text;
    SourceKind kind;
  };
  constexpr Prefix prefixes[] = {{"dir:", SourceKind::directory},  {"tar:", SourceKind::archive},
                                 {"oci:", SourceKind::oci_layout}, {"oci-layer:", SourceKind::oci_layer},
                                 {"plan:", SourceKind::plan},      {"file:", SourceKind::file}};
  SourceSpec spec;
  spec.location = argument;
  for (const Prefix& prefix : prefixes) {
    if (!argument.starts_with(prefix.text)) continue;
    spec.kind = prefix.kind;
    spec.location = argument.substr(prefix.text.size());
  }
  return spec;
}

struct SourceSet::State {
  Result<void> open(const SourceSpec& spec);
  Result<void> read(const SourceSpec& spec);
  Result<void> read_directory(const SourceSpec& spec);
  Result<void> read_file(const SourceSpec& spec);
  Result<void> read_archive_file(const SourceSpec& spec);
  Result<void> read_oci(const SourceSpec& spec);
  Result<void> read_plan_entry(const PlanEntry& entry, const SourceSpec& plan);

  SourceOptions options;
  std::vector<SourceSpec> specs;  // kinds and targets are settled
  Declarations declarations;
  SourceFiles files;
  uint32_t archives = 0;
  // While reading:
  Inventory* inventory = nullptr;
  ContentStore* store = nullptr;
  WorkerPool* pool = nullptr;
};

SourceSet::SourceSet(std::unique_ptr<State> state) : state_(std::move(state)) {}
SourceSet::SourceSet(SourceSet&&) noexcept = default;
SourceSet& SourceSet::operator=(SourceSet&&) noexcept = default;
SourceSet::~SourceSet() = default;

const Declarations& SourceSet::declarations() const { return state_->declarations; }
const SourceFiles& SourceSet::files() const { return state_->files; }

Result<SourceSet> SourceSet::open(const std::vector<SourceSpec>& specs, const SourceOptions& options) {
  auto state = std::make_unique<State>();
  state->options = options;
  for (const SourceSpec& spec : specs) {
    TRY(refuse_image(spec.location, options));
    state->specs.push_back(TRY(settled(spec)));
    if (state->specs.back().kind != SourceKind::plan) continue;
    TRY(read_plan_file(spec.location, options.plan_names, [&](PlanEntry&& entry) -> Result<void> {
      if (entry.source) TRY(refuse_image(entry.source->location, options));
      declare(entry, state->declarations);
      return {};
    }));
  }
  return SourceSet(std::move(state));
}

Result<void> SourceSet::read(Inventory& inventory, ContentStore& store, WorkerPool& pool) {
  state_->inventory = &inventory;
  state_->store = &store;
  state_->pool = &pool;
  for (const SourceSpec& spec : state_->specs) TRY(state_->read(spec));
  return {};
}

Result<void> SourceSet::State::read(const SourceSpec& spec) {
  TRY(options.cancel.check());
  switch (spec.kind) {
    case SourceKind::directory: return read_directory(spec);
    case SourceKind::file: return read_file(spec);
    case SourceKind::archive:
    case SourceKind::oci_layer: return read_archive_file(spec);
    case SourceKind::oci_layout: return read_oci(spec);
    case SourceKind::plan:
      inventory->begin_layer();
      return read_plan_file(spec.location, options.plan_names,
                            [&](PlanEntry&& entry) { return read_plan_entry(entry, spec); });
    case SourceKind::automatic: break;
  }
  return Error(karst::err::invalid, "a source of no kind");
}

Result<void> SourceSet::State::read_directory(const SourceSpec& spec) {
  UniqueFd root(::open(spec.location.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) return source_error(errno, "opening the directory", spec.location, "");
  const uint32_t source = files.add(spec.location, std::move(root));
  return scan_directory({files, source, spec.target, spec, options, {}}, *inventory, *pool);
}

Result<void> SourceSet::State::read_file(const SourceSpec& spec) {
  const size_t slash = spec.location.rfind('/');
  const std::string directory = slash == 0                   ? "/"
                                : slash == std::string::npos ? "."
                                                             : spec.location.substr(0, slash);
  const std::string name = slash == std::string::npos ? spec.location : spec.location.substr(slash + 1);
  if (name.empty() || name == "." || name == ".." || spec.target.empty())
    return Error(err::source_path_invalid, spec.location + ": not a file and where it is to be");
  UniqueFd root(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) return source_error(errno, "opening its directory", spec.location, "");
  const uint32_t source = files.add(directory, std::move(root));
  return scan_file({files, source, spec.target, spec, options, {}}, name, *inventory);
}

Result<void> SourceSet::State::read_archive_file(const SourceSpec& spec) {
  UniqueFd opened;
  if (spec.location != "-") opened.reset(::open(spec.location.c_str(), O_RDONLY | O_CLOEXEC));
  if (spec.location != "-" && !opened) return source_error(errno, "opening", spec.location, "");
  const ArchiveRead read{.fd = opened ? opened.get() : STDIN_FILENO,
                         .name = spec.location == "-" ? "standard input" : spec.location,
                         .target = spec.target,
                         .whiteouts = spec.kind == SourceKind::oci_layer,
                         .digest = std::nullopt,
                         .number = archives++,
                         .pool = pool,
                         .spec = spec,
                         .options = options};
  return read_archive(read, *inventory, *store);
}

Result<void> SourceSet::State::read_oci(const SourceSpec& spec) {
  UniqueFd root(::open(spec.location.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root) return source_error(errno, "opening the image layout", spec.location, "");
  for (const OciLayer& layer :
       TRY(read_oci_layout(root.get(), spec.location, spec.oci_platform, spec.oci_reference))) {
    UniqueFd blob(open_below(root.get(), layer.path, O_RDONLY));
    if (!blob) return source_error(errno, "opening the layer", spec.location, layer.path);
    const ArchiveRead read{.fd = blob.get(),
                           .name = join_paths(spec.location, layer.path),
                           .target = spec.target,
                           .whiteouts = true,
                           .digest = layer.digest,
                           .number = archives++,
                           .pool = pool,
                           .spec = spec,
                           .options = options};
    TRY(read_archive(read, *inventory, *store));
  }
  return {};
}

// An entry of a plan is said after all before it, removals included.
Result<void> SourceSet::State::read_plan_entry(const PlanEntry& entry, const SourceSpec& plan) {
  TRY(options.cancel.check());
  if (entry.source) TRY(read(TRY(settled_in_plan(inherited(*entry.source, plan)))));
  if (entry.snapshot_of) return {};
  inventory->begin_layer();
  if (entry.remove) return inventory->remove(entry.path);
  if (entry.hard_link) TRY(inventory->link(entry.path, *entry.hard_link));
  if (entry.subvolume && !entry.made) TRY(inventory->ensure_parents(join_paths(entry.path, "x")));
  if (!entry.made)
    return entry.changes() ? inventory->patch(entry.path, entry.patch, entry.xattrs) : Result<void>();
  Entry put{.attributes = *entry.made};
  const Time now = inventory->options().default_time;
  put.attributes.atime = put.attributes.mtime = put.attributes.ctime = put.attributes.otime = now;
  entry.patch.apply(put.attributes);
  put.xattrs = &entry.xattrs;
  if (!entry.content.empty()) {
    put.content = ContentKind::bytes;
    put.content_bytes = as_bytes(entry.content);
  }
  return inventory->put(entry.path, put);
}

}  // namespace karst::btrfs::build

#include "btrfs/tool/build/source.h"

#include <fcntl.h>

#include "btrfs/tool/build/directory_source.h"
#include "btrfs/tool/build/errors.h"

namespace karst::btrfs::build {

struct SourceSet::State {
  std::vector<SourceSpec> specs;
  SourceOptions options;
  Declarations declarations;
  SourceFiles files;
};

SourceSpec SourceSpec::parse(std::string_view argument) {
  SourceSpec spec;
  spec.location = argument;
  if (argument.starts_with("dir:")) {
    spec.kind = SourceKind::directory;
    spec.location = argument.substr(4);
  }
  return spec;
}

SourceSet::SourceSet(std::unique_ptr<State> state) : state_(std::move(state)) {}
SourceSet::SourceSet(SourceSet&&) noexcept = default;
SourceSet& SourceSet::operator=(SourceSet&&) noexcept = default;
SourceSet::~SourceSet() = default;

Result<SourceSet> SourceSet::open(const std::vector<SourceSpec>& specs, const SourceOptions& options) {
  auto state = std::make_unique<State>();
  state->specs = specs;
  state->options = options;
  for (const SourceSpec& spec : specs) {
    UniqueFd fd(::open(spec.location.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return Error::from_errno(errno, spec.location);
    state->files.add(spec.location, std::move(fd));
  }
  return SourceSet(std::move(state));
}

const Declarations& SourceSet::declarations() const { return state_->declarations; }
const SourceFiles& SourceSet::files() const { return state_->files; }

Result<void> SourceSet::read(Inventory& inventory, ContentStore&, WorkerPool& pool) {
  for (uint32_t n = 0; n < state_->specs.size(); ++n) {
    inventory.begin_layer();
    TRY(scan_directory({state_->files, n, "", state_->specs[n], state_->options, {}}, inventory, pool));
  }
  return {};
}

}  // namespace karst::btrfs::build

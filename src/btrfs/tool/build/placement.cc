#include "btrfs/tool/build/placement.h"

#include <algorithm>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/paths.h"

namespace karst::btrfs::build {
namespace {
constexpr uint64_t first_free_id = 256;
const Properties no_properties;

template <typename... Args>
Error refuse(fmt::format_string<Args...> format, Args&&... args) {
  return Error::make(karst::err::invalid, format, std::forward<Args>(args)...);
}

std::string_view path_of(const Subvolume& subvolume) { return std::string_view(subvolume.path).substr(1); }

bool before(std::string_view a, std::string_view b) { return compare_paths(a, b) < 0; }
}  // namespace

std::pair<size_t, size_t> Placement::at_or_below(std::string_view path) const {
  auto first = std::partition_point(subvolumes_.begin(), subvolumes_.end(), [&](const Subvolume& subvolume) {
    return before(build::path_of(subvolume), path);
  });
  auto last = std::partition_point(first, subvolumes_.end(), [&](const Subvolume& subvolume) {
    return is_below_or_at(build::path_of(subvolume), path);
  });
  return {first - subvolumes_.begin(), last - subvolumes_.begin()};
}

// In the order of paths, what is nearest above a path is the one before it or one of those that enclose that
// one.
Located Placement::locate(std::string_view path) const {
  if (subvolumes_.size() == 1) return {0, path};
  auto after = std::partition_point(subvolumes_.begin(), subvolumes_.end(), [&](const Subvolume& subvolume) {
    return !before(path, build::path_of(subvolume));
  });
  size_t at = static_cast<size_t>(after - subvolumes_.begin()) - 1;
  while (!is_below_or_at(path, path_of(at))) at = subvolumes_[at].parent;
  path.remove_prefix(std::min(path.size(), path_of(at).size() + (path_of(at).empty() ? 0 : 1)));
  return {at, path};
}

const Properties& Placement::properties_at(std::string_view path) const {
  auto after = std::partition_point(rules_.begin(), rules_.end(),
                                    [&](const Rule& rule) { return !before(path, rule.path); });
  if (after == rules_.begin()) return no_properties;
  size_t at = static_cast<size_t>(after - rules_.begin()) - 1;
  while (!is_below_or_at(path, rules_[at].path)) {
    if (rules_[at].enclosing == at) return no_properties;
    at = rules_[at].enclosing;
  }
  return rules_[at].properties;
}

Result<Placement> Placement::create(const Declarations& declarations) {
  Placement placement;
  std::vector<SubvolumeSpec> specs = declarations.subvolumes;
  if (std::none_of(specs.begin(), specs.end(), [](const auto& spec) { return spec.path.empty(); }))
    specs.push_back({});
  std::sort(specs.begin(), specs.end(), [](const auto& a, const auto& b) { return before(a.path, b.path); });
  auto find = [&](std::string_view path) -> std::optional<size_t> {
    auto at = std::partition_point(specs.begin(), specs.end(),
                                   [&](const auto& spec) { return before(spec.path, path); });
    if (at == specs.end() || at->path != path) return std::nullopt;
    return at - specs.begin();
  };

  std::vector<Subvolume>& subvolumes = placement.subvolumes_;
  for (size_t i = 0; i < specs.size(); ++i) {
    const SubvolumeSpec& spec = specs[i];
    TRY(check_path(spec.path).context([] { return "subvolume"; }));
    if (i > 0 && spec.path == specs[i - 1].path)
      return refuse("subvolume declared twice: /{}", shown_path(spec.path));
    Subvolume subvolume;
    subvolume.path = "/" + spec.path;
    subvolume.readonly = spec.readonly;
    if (i > 0) {
      subvolume.id = first_free_id + i - 1;
      subvolume.name = base_name(spec.path);
      subvolume.parent = i - 1;
      while (!is_below_or_at(spec.path, specs[subvolume.parent].path))
        subvolume.parent = subvolumes[subvolume.parent].parent;
      if (subvolumes[subvolume.parent].snapshot_of)
        return refuse("subvolume in a snapshot: /{}", shown_path(spec.path));
    }
    if (spec.snapshot_of) {
      subvolume.snapshot_of = find(*spec.snapshot_of);
      if (!subvolume.snapshot_of || specs[*subvolume.snapshot_of].snapshot_of || i == 0)
        return refuse("/{} cannot be a snapshot of /{}: only of a subvolume that is no snapshot",
                      shown_path(spec.path), shown_path(*spec.snapshot_of));
    }
    subvolumes.push_back(std::move(subvolume));
  }
  const std::string default_path = declarations.default_subvolume.value_or("");
  const std::optional<size_t> default_place = find(default_path);
  if (!default_place) return refuse("the default subvolume is not declared: /{}", shown_path(default_path));
  subvolumes[*default_place].is_default = true;

  std::vector<PropertyRule> rules = declarations.properties;
  std::stable_sort(rules.begin(), rules.end(),
                   [](const auto& a, const auto& b) { return before(a.path, b.path); });
  for (PropertyRule& rule : rules) {
    TRY(check_path(rule.path).context([] { return "properties"; }));
    std::vector<Rule>& settled = placement.rules_;
    if (!settled.empty() && settled.back().path == rule.path) {
      settled.back().properties = rule.properties;  // of two rules for a path, the later one
      continue;
    }
    size_t enclosing = settled.size();
    for (size_t at = settled.size(); at > 0 && enclosing == settled.size();) {
      --at;
      if (is_below_or_at(rule.path, settled[at].path))
        enclosing = at;
      else if (settled[at].enclosing == at)
        break;
      else
        at = settled[at].enclosing + 1;
    }
    settled.push_back({std::move(rule.path), rule.properties, enclosing});
  }
  return placement;
}

}  // namespace karst::btrfs::build

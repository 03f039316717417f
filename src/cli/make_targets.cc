#include "cli/make_targets.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "block/file_device.h"
#include "cli/open_named.h"

namespace karst::cli {
namespace {
constexpr uint64_t largest = uint64_t{8} << 40, least_grown = uint64_t{1} << 30;
}  // namespace

MakeTargets::~MakeTargets() {
  if (kept_) return;
  devices_.clear();
  for (const Target& target : targets_) {
    if (target.made) {
      ::unlink(target.path.c_str());
      continue;
    }
    if (target.size_before && ::truncate(target.path.c_str(), *target.size_before) != 0) {
      const Error why = Error::from_errno(errno, "giving it its size back");
      log_.error("left with another size", {{"file", target.path}}, &why);
    }
    if (overwritten_)
      log_.error("not a file system any more: what was begun on it did not end", {{"device", target.path}});
  }
}

Result<void> MakeTargets::check(const std::string& name) const {
  struct stat status;
  if (const auto path = path_of(name)) {
    if (::stat(path->c_str(), &status) != 0) return {};
    if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
      return Error(err::invalid, "neither a regular file nor a block device").at("path", *path);
  }
  if (force_) return {};
  if (auto known = TRY(known_content(name)))
    return Error::make(err::exists, "{} holds {}; use --force to overwrite it", name, *known);
  return {};
}

Result<void> MakeTargets::open(const std::vector<std::string>& paths, std::optional<uint64_t> size,
                               std::optional<Growth> growth) {
  for (const std::string& path : paths) TRY(check(path));
  for (const std::string& path : paths) TRY(open_one(path, size, growth));
  return {};
}

Result<void> MakeTargets::open_one(const std::string& name, std::optional<uint64_t> size,
                                   std::optional<Growth> growth) {
  const auto found = path_of(name);
  if (!found) return open_other(name, size);
  const std::string& path = *found;
  struct stat status;
  Target target{.path = path};
  target.made = ::stat(path.c_str(), &status) != 0;
  const bool is_file = target.made || S_ISREG(status.st_mode);
  if (target.made && !size && !growth)
    return Error(err::not_found, "no such file; give its size to make it").at("path", path);
  const bool grows = is_file && !size && growth;
  target.resize = is_file && (size || grows);
  // What is there is not cut before the end.
  uint64_t wanted = size.value_or(largest);
  if (is_file && !target.made) wanted = std::max(wanted, static_cast<uint64_t>(status.st_size));

  auto device = size || grows
                    ? block::FileDevice::create(path, wanted, {.exclusive = true})
                    : block::FileDevice::open(path, block::OpenMode::read_write, {.exclusive = true});
  // Not every file system has files of that size.
  while (grows && !device && device.error().is(err::limit) && (wanted /= 2) >= least_grown)
    device = block::FileDevice::create(path, wanted, {.exclusive = true});
  if (!device && device.error().is(err::busy)) return std::move(device).error();
  if (device && target.resize && !target.made) target.size_before = status.st_size;
  targets_.push_back(target);  // a file that was made and could not be given its size, too
  if (!device) return std::move(device).error();
  btrfs::MakeDevice made{*std::move(device), {}};
  if (size) made.limit = *size;
  if (grows) made.spare = growth->spare;
  devices_.push_back(std::move(made));
  if (::stat(path.c_str(), &status) == 0) identities_.emplace_back(status.st_dev, status.st_ino);
  return {};
}

// A volume or an export: it has the size that it has.
Result<void> MakeTargets::open_other(const std::string& name, std::optional<uint64_t> size) {
  btrfs::MakeDevice made{TRY(open_named(name, block::OpenMode::read_write, {.exclusive = true})), {}};
  if (size && made.device->size() < *size)
    return Error(err::no_space, "the device is too small")
        .expected(*size, made.device->size())
        .at("device", name);
  if (size) made.limit = *size;
  targets_.push_back({.path = name});
  devices_.push_back(std::move(made));
  return {};
}

Result<void> MakeTargets::keep(const btrfs::MakeReport& report) {
  for (size_t i = 0; i < targets_.size(); ++i)
    if (targets_[i].resize &&
        ::truncate(targets_[i].path.c_str(), static_cast<off_t>(report.devices[i].size)) != 0)
      return Error::from_errno(errno, fmt::format("setting the size of {}", targets_[i].path));
  kept_ = true;
  return {};
}

}  // namespace karst::cli

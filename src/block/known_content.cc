#include "block/known_content.h"

#include <blkid/blkid.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include "core/unique_fd.h"

namespace karst::block {

namespace {

using Probe = std::unique_ptr<blkid_struct_probe, decltype(&blkid_free_probe)>;

Result<std::optional<std::string>> look(const Probe& probe, const std::string& name) {
  blkid_probe_enable_superblocks(probe.get(), true);
  blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE);
  blkid_probe_enable_partitions(probe.get(), true);
  // An empty file, or one too small for anything, has nothing.
  const int found = blkid_do_safeprobe(probe.get());
  if (found == 1) return std::optional<std::string>();
  if (found == -2) return std::optional<std::string>("several signatures");
  if (found != 0) return Error(err::io, "looking for what is there").at("device", name);
  const char* value = nullptr;
  if (blkid_probe_lookup_value(probe.get(), "TYPE", &value, nullptr) == 0)
    return std::optional<std::string>(value);
  if (blkid_probe_lookup_value(probe.get(), "PTTYPE", &value, nullptr) == 0)
    return std::optional<std::string>(fmt::format("a {} partition table", value));
  return std::optional<std::string>("something unknown");
}

}  // namespace

Result<std::optional<std::string>> known_content(const std::string& path) {
  errno = 0;
  const Probe probe(blkid_new_probe_from_filename(path.c_str()), &blkid_free_probe);
  if (!probe) return Error::from_errno(errno ? errno : EIO, path);
  return look(probe, path);
}

// libblkid reads files alone: it gets one with what signatures are in, all of which are near the beginning or
// the end.
Result<std::optional<std::string>> known_content(Device& device) {
  constexpr uint64_t part = 4 << 20;
  const UniqueFd file(::memfd_create("known-content", MFD_CLOEXEC));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(device.size())) != 0)
    return Error::from_errno(errno, "looking for what is there").at("device", device.name());
  std::vector<std::byte> bytes(std::min(part, device.size()));
  for (const uint64_t at : {uint64_t{0}, device.size() - bytes.size()}) {
    TRY(device.read(at, bytes));
    if (::pwrite(file.get(), bytes.data(), bytes.size(), static_cast<off_t>(at)) !=
        static_cast<ssize_t>(bytes.size()))
      return Error::from_errno(errno, "looking for what is there").at("device", device.name());
  }
  const Probe probe(blkid_new_probe(), &blkid_free_probe);
  if (!probe || blkid_probe_set_device(probe.get(), file.get(), 0, 0) != 0)
    return Error(err::no_memory, "looking for what is there");
  return look(probe, device.name());
}

}  // namespace karst::block

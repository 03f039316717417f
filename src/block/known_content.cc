#include "block/known_content.h"

#include <blkid/blkid.h>

#include <memory>

namespace karst::block {

Result<std::optional<std::string>> known_content(const std::string& path) {
  errno = 0;
  std::unique_ptr<blkid_struct_probe, decltype(&blkid_free_probe)> probe(
      blkid_new_probe_from_filename(path.c_str()), &blkid_free_probe);
  if (!probe) return Error::from_errno(errno ? errno : EIO, path);
  blkid_probe_enable_superblocks(probe.get(), true);
  blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE);
  blkid_probe_enable_partitions(probe.get(), true);
  // An empty file, or one too small for anything, has nothing.
  const int found = blkid_do_safeprobe(probe.get());
  if (found == 1) return std::optional<std::string>();
  if (found == -2) return std::optional<std::string>("several signatures");
  if (found != 0) return Error(err::io, "looking for what is there").at("device", path);
  const char* value = nullptr;
  if (blkid_probe_lookup_value(probe.get(), "TYPE", &value, nullptr) == 0)
    return std::optional<std::string>(value);
  if (blkid_probe_lookup_value(probe.get(), "PTTYPE", &value, nullptr) == 0)
    return std::optional<std::string>(fmt::format("a {} partition table", value));
  return std::optional<std::string>("something unknown");
}

}  // namespace karst::block

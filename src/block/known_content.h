// What a device or image already holds, as libblkid knows it: so that nobody overwrites it by mistake.
#pragma once
#include <optional>
#include <string>

#include "block/device.h"

namespace karst::block {

// "btrfs", "ext4", "a dos partition table" …, or nothing that is known. Errors: opening and reading what it
// is.
Result<std::optional<std::string>> known_content(const std::string& path);
// The same of a device of any kind.
Result<std::optional<std::string>> known_content(Device& device);

}  // namespace karst::block

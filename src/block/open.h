// A device from its name on the command line: a path, file:PATH, mem:SIZE (K, M, G, T are powers of 1024), or
// the URI of an NBD server's export (nbd_device.h).
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "block/device.h"
#include "block/file_device.h"

namespace karst::block {

// err::unsupported for a scheme that is known and not built in.
Result<std::unique_ptr<Device>> open_device(std::string_view spec, OpenMode mode, FileOptions options = {});
// Who opens devices by names that others give: the above, or what knows more names.
using DeviceOpener = std::function<Result<std::unique_ptr<Device>>(std::string_view, OpenMode, FileOptions)>;

// The path, if that is what the name is, or has after file:.
std::optional<std::string> path_of(std::string_view spec);

// A size as users write it: "4096", "64K", "4G". err::invalid if it is none or too large.
Result<uint64_t> parse_size(std::string_view text);

}  // namespace karst::block

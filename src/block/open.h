// A device from its name on the command line: a path, file:PATH, or mem:SIZE (K, M, G, T are powers of 1024).
#pragma once
#include <cstdint>
#include <memory>
#include <string_view>

#include "block/device.h"
#include "block/file_device.h"

namespace karst::block {

// err::unsupported for a scheme that is known and not built in (rbd:, nbd://, nbd+unix://).
Result<std::unique_ptr<Device>> open_device(std::string_view spec, OpenMode mode, FileOptions options = {});

// A size as users write it: "4096", "64K", "4G". err::invalid if it is none or too large.
Result<uint64_t> parse_size(std::string_view text);

}  // namespace karst::block

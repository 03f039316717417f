#include "block/open.h"

#include <charconv>

#include "block/memory_device.h"
#include "block/nbd_device.h"
#include "block/nbd_helper.h"

namespace karst::block {
namespace {

constexpr std::string_view file_scheme = "file:";
constexpr std::string_view schemes[] = {"mem:", "rbd:", "nbd:", "nbds:", "nbd+unix:", "nbds+unix:"};

Result<std::unique_ptr<Device>> open_memory(std::string_view spec, FileOptions options) {
  const uint64_t size = TRY(parse_size(spec.substr(4)));
  const uint32_t block_size = options.block_size != 0 ? options.block_size : 512;
  return std::unique_ptr<Device>(TRY(MemoryDevice::create(size, block_size, std::string(spec))));
}

}  // namespace

Result<uint64_t> parse_size(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view suffix(end, static_cast<size_t>(text.data() + text.size() - end));
  static constexpr std::string_view letters = "KMGT";
  unsigned shift = 0;
  bool valid = error == std::errc() && suffix.size() <= 1;
  if (valid && suffix.size() == 1) {
    const size_t power =
        letters.find(suffix[0] >= 'a' ? static_cast<char>(suffix[0] - 'a' + 'A') : suffix[0]);
    valid = power != std::string_view::npos;
    shift = valid ? static_cast<unsigned>(10 * (power + 1)) : 0;
  }
  if (!valid || value > (UINT64_MAX >> 1 >> shift))
    return Error::make(err::invalid, "'{}' is not a size", text);
  return value << shift;
}

std::optional<std::string> path_of(std::string_view spec) {
  if (spec.starts_with(file_scheme)) return std::string(spec.substr(file_scheme.size()));
  for (const std::string_view scheme : schemes)
    if (spec.starts_with(scheme)) return std::nullopt;
  return std::string(spec);
}

Result<std::unique_ptr<Device>> open_device(std::string_view spec, OpenMode mode, FileOptions options) {
  if (const auto path = path_of(spec)) return FileDevice::open(*path, mode, options);
  if (spec.starts_with("mem:")) return open_memory(spec, options);
#if KARST_LIBNBD
  if (spec.starts_with("nbd")) return NbdDevice::connect(std::string(spec), mode, options.cancel);
#endif
  if (spec.starts_with("rbd:")) return open_rbd(spec, mode, options.cancel);
  return Error::make(err::unsupported, "this build has no {} devices", spec.substr(0, spec.find(':')))
      .at("device", spec);
}

}  // namespace karst::block

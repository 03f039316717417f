#include "block/disk_image.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "block/abandon_on_cancel.h"
#include "block/nbd_helper.h"
#include "core/endian.h"

namespace karst::block {
namespace {

// Of the qcow2 header, https://gitlab.com/qemu-project/qemu/-/blob/master/docs/interop/qcow2.rst.
struct Qcow2Header {
  std::array<char, 4> magic;
  be32 version;
  be64 backing_file_offset;  // 0: none
  std::array<uint8_t, 56> unused;
  be64 incompatible_features;  // from version 3 on
};
static_assert(sizeof(Qcow2Header) == 80);
constexpr std::array<char, 4> qcow2_magic = {'Q', 'F', 'I', '\xfb'};
constexpr uint64_t external_data_file = 1 << 2;

struct Magic {
  const char* format;
  uint64_t offset;
  std::string_view bytes;
};
constexpr Magic magics[] = {
    {"vmdk", 0, "KDMV"},     {"vmdk", 0, "# Disk DescriptorFile"},
    {"vhdx", 0, "vhdxfile"}, {"vdi", 64, std::string_view("\x7f\x10\xda\xbe", 4)},
    {"vpc", 0, "conectix"},  {"qed", 0, std::string_view("QED\0", 4)},
};

// What begins like a format whose reading may be dangerous, or is not ours, is not guessed.
Result<std::string> guess_format(Device& device) {
  std::array<std::byte, 512> head{};
  TRY(device.read(0, MutableBytes(head).first(std::min<uint64_t>(head.size(), device.size()))));
  const auto& header = *overlay<Qcow2Header>(head);
  if (header.magic == qcow2_magic) {
    const bool names_files =
        header.backing_file_offset != 0 ||
        (header.version >= 3 && (header.incompatible_features & external_data_file) != 0);
    if (names_files)
      return Error(err::invalid,
                   "a qcow2 image that names other files; --format qcow2 says that these may be read")
          .at("image", device.name());
    return std::string("qcow2");
  }
  for (const Magic& magic : magics)
    if (as_text(head).substr(magic.offset).starts_with(magic.bytes))
      return Error::make(err::invalid,
                         "begins like an image of format {0}; --format {0} or raw says what it is",
                         magic.format)
          .at("image", device.name());
  return std::string("raw");
}

Result<std::unique_ptr<Device>> open_with_qemu(const std::string& name, const std::string& format,
                                               const CancelToken& cancel, Backing backing) {
  const auto path = path_of(name);
  if (!path || is_url(name))
    return Error::make(err::unsupported, "an image of format {} has to be a file", format).at("image", name);
  return served_by_qemu(
      format, {{"file.driver", "file"}, {"file.filename", std::filesystem::absolute(*path).string()}}, name,
      OpenMode::read_only, cancel, backing);
}

}  // namespace

bool is_url(std::string_view name) {
  return std::ranges::any_of(std::array<std::string_view, 4>{"http:", "https:", "ftp:", "ftps:"},
                             [&](std::string_view scheme) { return name.starts_with(scheme); });
}

Result<std::unique_ptr<Device>> open_disk_image(const std::string& name, const std::string& format,
                                                const DeviceOpener& open, const CancelToken& cancel) {
  if (!std::ranges::all_of(
          format, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }))
    return Error::make(err::invalid, "'{}' is no format", format);
  if (!format.empty() && format != "raw")
    return open_with_qemu(name, format, cancel, Backing::as_the_image_says);
  auto device = TRY(is_url(name) ? served_by({"nbdkit", "--filter=exitlast", "curl", "url=" + name}, name,
                                             OpenMode::read_only, cancel)
                                 : open(name, OpenMode::read_only, {.cancel = cancel}));
  if (!format.empty()) return device;
  std::string found;
  {
    const auto watch = TRY(abandon_on_cancel(cancel, {device.get()}));
    found = TRY(guess_format(*device));
  }
  if (found == "raw") return device;
  // Whoever may write to it must not make it name others meanwhile.
  return open_with_qemu(name, found, cancel, Backing::none);
}

}  // namespace karst::block

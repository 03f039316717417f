// Devices that other programs know how to read, and serve to us alone over NBD: started with the device,
// ended with it.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "block/device.h"
#include "block/file_device.h"

namespace karst::block {

using QemuOptions = std::vector<std::pair<std::string, std::string>>;

// `name` is the device's, for messages. err::unsupported if the program is not installed, or this build has
// no libnbd.
Result<std::unique_ptr<Device>> served_by(std::vector<std::string> command, std::string name, OpenMode mode,
                                          CancelToken cancel = {});
// What qemu's block driver of that name, with those options, opens; without what the image names as lying
// behind it, if that is not wanted.
enum class Backing : uint8_t { as_the_image_says, none };
Result<std::unique_ptr<Device>> served_by_qemu(const std::string& driver, const QemuOptions& options,
                                               std::string name, OpenMode mode, CancelToken cancel = {},
                                               Backing backing = Backing::as_the_image_says);

// An image of a Ceph cluster, by way of qemu's rbd driver:
// rbd:POOL/[NAMESPACE/]IMAGE[@SNAPSHOT][:id=USER][:conf=FILE]. err::invalid if the name is not like that.
// Nothing keeps other clients away from it.
Result<std::unique_ptr<Device>> open_rbd(std::string_view spec, OpenMode mode, CancelToken cancel = {});
// The options of that driver that the name stands for.
Result<QemuOptions> parse_rbd(std::string_view spec);

}  // namespace karst::block

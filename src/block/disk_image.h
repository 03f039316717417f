// The disk that an image file holds, to be read: raw, or one of the formats of other programs, read by them.
#pragma once
#include <memory>
#include <string>

#include "block/open.h"

namespace karst::block {

// `name` is a device's name, or a URL that nbdkit's curl plugin reads (http:, https:, ftp:). `format` is raw,
// what qemu-nbd calls its formats (qcow2, vmdk, vhdx, vdi, vpc …), or empty: then it is qcow2 if the file
// begins like one, and else raw.
//
// Who made an image says what its format means: a qcow2 image that names other files (a backing file, an
// external data file) is read only if its format was given, and so is what looks like one of the other
// formats: err::invalid otherwise. err::unsupported if the program that reads it is not installed.
// Cancelled, it ends however long others take to answer: err::cancelled, or what that looked like below.
bool is_url(std::string_view name);  // one of those
Result<std::unique_ptr<Device>> open_disk_image(const std::string& name, const std::string& format,
                                                const DeviceOpener& open = open_device,
                                                const CancelToken& cancel = {});

}  // namespace karst::block

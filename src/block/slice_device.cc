#include "block/slice_device.h"

#include "core/assert.h"

namespace karst::block {

SliceDevice::SliceDevice(Device& below, uint64_t offset, uint64_t length, std::string name)
    : below_(below), offset_(offset), length_(length), name_(std::move(name)) {
  VERIFY(offset <= below.size() && length <= below.size() - offset);
}

Result<void> SliceDevice::resize(uint64_t size) {
  if (offset_ + size > below_.size())
    return Error(err::no_space, "the device is too small")
        .expected(offset_ + size, below_.size())
        .at("device", below_.name());
  length_.store(size, std::memory_order_release);
  return {};
}

std::string SliceDevice::identity() const { return fmt::format("{} from {}", below_.identity(), offset_); }

IoRequest SliceDevice::moved(const IoRequest& request) const {
  IoRequest below = request.again();
  below.offset += offset_;
  return below;
}

std::optional<DirectIo> SliceDevice::begin_direct(const IoRequest& request) {
  return below_.begin_direct(moved(request));
}

void SliceDevice::will_read(uint64_t offset, uint64_t length) {
  if (offset < size()) below_.will_read(offset_ + offset, std::min(length, size() - offset));
}

Result<void> SliceDevice::extents(uint64_t offset, uint64_t length, ExtentListener each) {
  return below_.extents(offset_ + offset, length,
                        [&](uint64_t at, uint64_t run, bool data) { return each(at - offset_, run, data); });
}

Result<void> SliceDevice::perform(const IoRequest& request) {
  return below_.resubmit_unaccounted(moved(request));
}

}  // namespace karst::block

// Abandons devices when somebody asks their user to stop, who may be waiting in one of their requests.
#pragma once
#include <initializer_list>
#include <vector>

#include "block/device.h"
#include "core/cancel.h"
#include "core/periodic.h"

namespace karst::block {

// Looks at the token a few times a second, as long as what it returns lives; the devices outlive that.
inline Result<std::unique_ptr<Periodic>> abandon_on_cancel(CancelToken token,
                                                           std::initializer_list<Device*> devices) {
  return Periodic::start(std::chrono::milliseconds(100),
                         [token = std::move(token), devices = std::vector(devices)] {
                           if (!token.cancelled()) return true;
                           for (Device* device : devices) device->abandon();
                           return false;
                         });
}

}  // namespace karst::block

// Status lines of pools and volumes, as `dmsetup status` prints them after "0 SECTORS " (TH-037).
//
//   thin-pool TRANSACTION USED/TOTAL-METADATA USED/TOTAL-DATA HELD-ROOT|- rw|ro|out_of_data_space DISCARD
//   QUEUE|ERROR
//     needs_check|- METADATA-LOW-WATER
//   thin MAPPED-SECTORS HIGHEST-MAPPED-SECTOR|-
//
// Source: Linux Documentation/admin-guide/device-mapper/thin-provisioning.rst; words from a kernel in every
// state.
#pragma once
#include <string>

#include "thin/pool/pool.h"

namespace karst::thin {

std::string pool_status_line(const Pool::Status& status);
// "thin Fail" of a pool that has failed, "thin Error" if the mappings cannot be read.
std::string volume_status_line(const Pool& pool, const Result<Pool::DeviceStatus>& status);

}  // namespace karst::thin

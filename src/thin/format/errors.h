// What can be wrong with a pool's metadata: one error kind for each fact.
#pragma once
#include "core/error.h"

namespace karst::thin::err {

using namespace karst::err;

// Children of corrupt.
extern const ErrorKind block_number;  // a block says that it is another
extern const ErrorKind node_kind;     // neither inner node nor leaf, or not what its level asks for
extern const ErrorKind node_entries;  // counts or sizes that do not fit in a block
extern const ErrorKind node_order;    // keys not ascending, or outside of what the parent says
extern const ErrorKind node_bounds;   // points outside of the device
extern const ErrorKind super_magic;
extern const ErrorKind super_version;
extern const ErrorKind super_size;  // block sizes or counts that cannot be
extern const ErrorKind super_feature;
extern const ErrorKind space_map;  // counts or addresses of a space map that cannot be
extern const ErrorKind device_details;

// A block whose checksum is not that of its contents; child of checksum.
extern const ErrorKind block_checksum;
// What the caller named. No such device: ENODATA, as Linux answers.
extern const ErrorKind no_device;
extern const ErrorKind needs_check;  // read_only: the pool has to be checked before it is written again
extern const ErrorKind failed;       // io: an earlier failure left nothing to go on with

}  // namespace karst::thin::err

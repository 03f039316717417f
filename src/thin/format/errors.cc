#include "thin/format/errors.h"

#include <cerrno>

namespace karst::thin::err {

constexpr ErrorKind block_number{"thin-block-number", &karst::err::corrupt, EUCLEAN};
constexpr ErrorKind node_kind{"thin-node-kind", &karst::err::corrupt, EUCLEAN};
constexpr ErrorKind node_entries{"thin-node-entries", &karst::err::corrupt, EUCLEAN};
constexpr ErrorKind node_order{"thin-node-order", &karst::err::corrupt, EUCLEAN};
constexpr ErrorKind node_bounds{"thin-node-bounds", &karst::err::corrupt, EUCLEAN};
constexpr ErrorKind super_magic{"thin-super-magic", &karst::err::corrupt, EUCLEAN};
constexpr ErrorKind super_version{"thin-super-version", &karst::err::corrupt, EUCLEAN};
constexpr ErrorKind super_size{"thin-super-size", &karst::err::corrupt, EUCLEAN};
constexpr ErrorKind super_feature{"thin-super-feature", &karst::err::unsupported, EOPNOTSUPP};
constexpr ErrorKind space_map{"thin-space-map", &karst::err::corrupt, EUCLEAN};
constexpr ErrorKind device_details{"thin-device-details", &karst::err::corrupt, EUCLEAN};
constexpr ErrorKind block_checksum{"thin-checksum", &karst::err::checksum, EIO};
constexpr ErrorKind no_device{"thin-no-device", &karst::err::not_found, ENODATA};
constexpr ErrorKind needs_check{"thin-needs-check", &karst::err::read_only, EROFS};
constexpr ErrorKind failed{"thin-failed", &karst::err::io, EIO};

}  // namespace karst::thin::err

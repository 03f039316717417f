#include "btrfs/tool/build/errors.h"

#include <cerrno>

namespace karst::btrfs::err {

const ErrorKind source{"source", nullptr, EIO};
const ErrorKind source_vanished{"source-vanished", &source, ENOENT};
const ErrorKind source_changed{"source-changed", &source, EBUSY};
const ErrorKind source_unreadable{"source-unreadable", &source, EACCES};
const ErrorKind source_unsupported{"source-unsupported", &source, EOPNOTSUPP};
const ErrorKind source_path_invalid{"source-path-invalid", &source, EINVAL};
const ErrorKind source_name_too_long{"source-name-too-long", &source, ENAMETOOLONG};
const ErrorKind source_target_too_long{"source-target-too-long", &source, ENAMETOOLONG};
const ErrorKind source_not_a_directory{"source-not-a-directory", &source, ENOTDIR};
const ErrorKind source_link_target{"source-link-target", &source, ENOENT};
const ErrorKind source_too_many_links{"source-too-many-links", &source, EMLINK};
const ErrorKind source_missing_path{"source-missing-path", &source, ENOENT};
const ErrorKind source_archive{"source-archive", &source, EUCLEAN};
const ErrorKind source_oci{"source-oci", &source, EUCLEAN};
const ErrorKind source_digest{"source-digest", &source, EUCLEAN};
const ErrorKind source_plan{"source-plan", &source, EINVAL};
const ErrorKind source_acl{"source-acl", &source, EINVAL};

}  // namespace karst::btrfs::err

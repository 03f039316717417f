// What can be wrong with the sources of a build. Texts name the path; docs/build-plan.md explains each.
#pragma once
#include "core/error.h"

namespace karst::btrfs::err {

extern const ErrorKind source;                  // EIO: the family; anything that a source said
extern const ErrorKind source_vanished;         // ENOENT: was there when its directory was listed
extern const ErrorKind source_changed;          // EBUSY: not what it was when it was scanned
extern const ErrorKind source_unreadable;       // EACCES: may not be opened, listed or read
extern const ErrorKind source_unsupported;      // EOPNOTSUPP: a type of file or archive entry we cannot store
extern const ErrorKind source_path_invalid;     // EINVAL: "..", NUL, nothing at all
extern const ErrorKind source_name_too_long;    // ENAMETOOLONG: a component of more than 255 bytes
extern const ErrorKind source_target_too_long;  // ENAMETOOLONG: a symlink's target of more than 4095 bytes
extern const ErrorKind source_not_a_directory;  // ENOTDIR: something lies below what is no directory
extern const ErrorKind source_link_target;     // ENOENT: a hard link to what is not there, or cannot have one
extern const ErrorKind source_too_many_links;  // EMLINK: more than 65535 names of one inode
extern const ErrorKind source_missing_path;    // ENOENT: attributes for a path that no source has
extern const ErrorKind source_archive;         // EUCLEAN: an archive that libarchive cannot read on
extern const ErrorKind source_oci;             // EUCLEAN: an image layout that contradicts the specification
extern const ErrorKind source_digest;          // EUCLEAN: a blob that is not what its digest says
extern const ErrorKind source_plan;            // EINVAL: a plan file's mistake, with path and key
extern const ErrorKind source_acl;             // EINVAL: an access control list that cannot be stored

}  // namespace karst::btrfs::err

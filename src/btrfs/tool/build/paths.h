// Paths in the image: absolute, without a leading slash, components of 1 to 255 bytes with single slashes
// between them; "" is the root.
//
// Their order is that of directories: component by component, as if a slash were less than any byte of a
// name. At one depth, that puts the children of one directory next to each other, in the order of their
// names.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace karst::btrfs::build {

// A path as an archive or a user writes it: leading and doubled slashes and "." components are dropped.
// err::source_path_invalid for ".." and NUL, err::source_name_too_long for a component of more than 255 bytes
// or a path of more than 1 MiB; the text has the path, shortened.
Result<std::string> normalize_path(std::string_view text);
// The same for what is normal already, checked only.
Result<void> check_path(std::string_view path);

// The part before the last slash; "" for what lies in the root, and for the root.
std::string_view parent_path(std::string_view path);
// The part after it.
std::string_view base_name(std::string_view path);
// Components; 0 for the root.
uint32_t path_depth(std::string_view path);
bool is_below_or_at(std::string_view path, std::string_view ancestor);
// "a" joined with "b/c", either of which may be empty.
std::string join_paths(std::string_view a, std::string_view b);
// Negative, zero, positive; the order of directories.
int compare_paths(std::string_view a, std::string_view b);

// For messages: at most a few hundred bytes of it.
std::string shown_path(std::string_view path);

}  // namespace karst::btrfs::build

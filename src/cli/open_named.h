// Devices as the command line names them: what block/open.h knows, and thin:POOL#VOLUME, a volume of a pool
// by its name or id. A pool that is being served is reached through its socket; another one is opened with
// the first of its volumes that is, and closed with the last: a process has a pool open once.
#pragma once
#include <string>
#include <vector>

#include "block/open.h"

namespace karst::cli {

// err::no_device if the pool has no such volume; err::read_only for a volume that nobody may write to;
// err::busy if the pool is in use by somebody who does not serve it. Thread-safe.
Result<std::unique_ptr<block::Device>> open_named(std::string_view name, block::OpenMode mode,
                                                  block::FileOptions options = {});
// Several, to be read, in the order of their names.
Result<std::vector<std::unique_ptr<block::Device>>> open_all_named(const std::vector<std::string>& names);

// The name as it is understood in any directory: a path is made absolute.
std::string absolute_name(const std::string& name);
// err::unsupported for the names of volumes, where whoever serves a pool would have to open them: it serves
// one pool.
Result<void> check_no_volume(const std::string& name, const char* what);
// As block::known_content(), of a device by its name.
Result<std::optional<std::string>> known_content(const std::string& name);
// As block::path_of().
std::optional<std::string> path_of(std::string_view name);

}  // namespace karst::cli

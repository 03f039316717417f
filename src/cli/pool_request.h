// Asking something of a pool: of who serves it, or, if nobody does, by opening it.
#pragma once
#include <string>

#include "cli/output.h"
#include "cli/session.h"
#include "thin/home/home.h"

namespace karst::cli {

// A pool that nobody has open; err::busy if somebody has.
Result<std::unique_ptr<thin::Home>> open_home(const Session& session, const std::string& pool);

// The answer (thin/home/command.h). err::busy if the pool is in use and its control socket does not answer.
Result<Json> ask_pool(const Session& session, const std::string& pool, const Json& request);
// The same for an import, which takes long: shown by a bar, and ended by the signals that end a process, with
// nothing left of it.
Result<Json> ask_pool_to_import(const Session& session, const std::string& pool, const Json& request);

}  // namespace karst::cli

// Asking something of a pool: of who serves it, or, if nobody does, by opening it.
#pragma once
#include <string>

#include "cli/output.h"
#include "cli/session.h"
#include "thin/home/home.h"

namespace karst::cli {

// A pool that nobody has open; err::busy if somebody has.
Result<std::unique_ptr<thin::Home>> open_home(const Session& session, const std::string& pool,
                                              ProgressRef progress = {});

// The answer (thin/home/command.h). err::busy if the pool is in use and its control socket does not answer.
// `progress` counts if the work is done here.
Result<Json> ask_pool(const Session& session, const std::string& pool, const Json& request,
                      ProgressRef progress = {});

}  // namespace karst::cli

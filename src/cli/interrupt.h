// SIGINT and SIGTERM for verbs that work long: the first one asks the work to end in good order, a second one
// ends the program at once.
#pragma once
#include "core/cancel.h"

namespace karst::cli {

// Takes the two signals from here on, for as long as the process lives; the token is cancelled by them.
// System calls that wait are not restarted (EINTR), so that the work sees it.
CancelToken cancelled_by_signals();

}  // namespace karst::cli

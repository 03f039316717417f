// What can be asked of a pool, as JSON: the language of its control socket, and of the command line, which
// runs the same requests itself when nobody serves the pool.
//
//   {"command": "status"}                                           → the description, the state, the status
//   lines
//   {"command": "message", "text": "create_thin 0"}                 → {"output": text or null}
//   {"command": "volume-add", "name", "size", "origin"?, "id"?}     → the volume
//   {"command": "volume-add", "name", "from", "format"?, "size"?, "id"?}   → the volume, once it has been
//   filled
//   {"command": "volume-snapshot", "of", "name", "read_only"?, "id"?}
//   {"command": "volume-remove", "name"} · {"command": "volume-rename", "name", "to"}
//   {"command": "volume-resize", "name", "size"}
//   {"command": "imports"}                                          → {"imports": […]}: volumes being filled
//   {"command": "volume-list"}                                      → {"volumes": […], "imports": […]}
//   {"command": "grow", "data_size"?, "metadata_size"?}             → the status
//   {"command": "events", "after": N}                               → {"events": M}, once M is greater than N
//   {"command": "quiesce"}                                          → {}, once all that was freed can be used
//
// Sizes are bytes. docs/json/thin-control.schema.json describes requests and answers.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include "thin/home/home.h"

namespace karst::thin {

// Thread-safe. Errors are those of Home; err::invalid for a request that is none.
// What may take for ever (importing, waiting for events) ends early when the token is cancelled; for events,
// Pool::wake_waiting() tells of that.
Result<nlohmann::ordered_json> execute(Home& home, const nlohmann::ordered_json& request,
                                       const CancelToken& cancel = {});

}  // namespace karst::thin

// The control socket of a pool that is being served: a unix socket beside the pool's file, whose requests and
// answers are JSON (thin/home/command.h), one on a line.
//
//   → {"command": "volume-list"}
//   ← {"ok": {"volumes": []}}      or      ← {"error": {"name": "not-found", "errno": 61, "message": "…"}}
//
// Whoever may open the socket may do everything to the pool; it is made for its owner alone.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include <memory>
#include <string>

#include "core/result.h"
#include "thin/home/home.h"

namespace karst::control {

// "POOL.control".
std::string socket_path(const std::string& pool_path);

// Serves requests until it goes away; each connection has a thread, up to a limit, beyond which they wait.
class Server {
 public:
  // The caller has the pool's lock: a socket that is there is a dead one's, and replaced. The home outlives
  // the server.
  static Result<std::unique_ptr<Server>> start(thin::Home& home);
  virtual ~Server() = default;
};

// Sends one request and waits for its answer. err::not_found if nobody listens. An error that came as an
// answer has the words of the other side, and its errno.
Result<nlohmann::ordered_json> ask(const std::string& pool_path, const nlohmann::ordered_json& request);

}  // namespace karst::control

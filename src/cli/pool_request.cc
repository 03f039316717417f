#include "cli/pool_request.h"

#include "control/socket.h"
#include "thin/home/command.h"

namespace karst::cli {

Result<std::unique_ptr<thin::Home>> open_home(const Session& session, const std::string& pool) {
  return thin::Home::open(pool, {.timer = false, .log = session.warnings()});
}

Result<Json> ask_pool(const Session& session, const std::string& pool, const Json& request) {
  auto home = open_home(session, pool);
  if (home) return thin::execute(**home, request);
  if (!home.error().is(err::busy)) return std::move(home).error();
  auto answer = control::ask(pool, request);
  if (!answer && answer.error().is(err::not_found))
    return std::move(home).error().while_doing("the pool is not served, and");
  return answer;
}

}  // namespace karst::cli

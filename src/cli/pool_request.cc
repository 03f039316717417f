#include "cli/pool_request.h"

#include "cli/open_named.h"
#include "control/socket.h"
#include "thin/home/command.h"

namespace karst::cli {

Result<std::unique_ptr<thin::Home>> open_home(const Session& session, const std::string& pool,
                                              ProgressRef progress) {
  return thin::Home::open(
      pool, {.timer = false, .log = session.warnings(), .open = open_named, .progress = progress});
}

Result<Json> ask_pool(const Session& session, const std::string& pool, const Json& request,
                      ProgressRef progress) {
  auto home = open_home(session, pool, progress);
  if (home) return thin::execute(**home, request);
  if (!home.error().is(err::busy)) return std::move(home).error();
  auto answer = control::ask(pool, request);
  if (!answer && answer.error().is(err::not_found))
    return std::move(home).error().while_doing("the pool is not served, and");
  return answer;
}

}  // namespace karst::cli

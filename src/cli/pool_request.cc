#include "cli/pool_request.h"

#include <functional>

#include "cli/interrupt.h"
#include "cli/open_named.h"
#include "cli/progress_bar.h"
#include "control/socket.h"
#include "core/periodic.h"
#include "thin/home/command.h"

namespace karst::cli {
namespace {

using Ask = std::function<Result<Json>(const Json& request)>;

// Looks now and then how far an import is, and shows it.
class ImportBar {
 public:
  ImportBar(Ask ask, std::string name) : ask_(std::move(ask)), name_(std::move(name)), bar_(progress_) {
    // Without a thread to look, the bar shows nothing.
    if (auto looking = Periodic::start(std::chrono::milliseconds(200), [this] { return look(); }))
      looking_ = *std::move(looking);
  }

 private:
  bool look() {
    const auto answer = ask_({{"command", "imports"}});
    if (!answer) return true;
    for (const Json& import : answer->value("imports", Json::array())) {
      if (import.value("name", std::string()) != name_) continue;
      const auto now = import.value("done", uint64_t{0}), total = import.value("total", uint64_t{0});
      if (total != 0 && !std::exchange(begun_, true)) progress_.begin_phase("copying", total);
      progress_.add(now - std::min(done_, now), 0);
      done_ = std::max(done_, now);
    }
    return true;
  }

  const Ask ask_;
  const std::string name_;
  Progress progress_;
  ProgressBar bar_;
  uint64_t done_ = 0;
  bool begun_ = false;
  std::unique_ptr<Periodic> looking_;  // ends first
};

// Signals end the process, which is how a server hears that its client is gone; or, where the work is done
// here, the work, so that it can be undone.
enum class OnSignals : uint8_t { end_process, end_work };

template <typename F>
Result<Json> with_pool(const Session& session, const std::string& pool, OnSignals on_signals, F&& with) {
  auto home = open_home(session, pool);
  if (home) {
    const CancelToken cancel = on_signals == OnSignals::end_work ? cancelled_by_signals() : CancelToken();
    return with([&](const Json& request) { return thin::execute(**home, request, cancel); });
  }
  if (!home.error().is(err::busy)) return std::move(home).error();
  auto answer = with([&](const Json& request) { return control::ask(pool, request); });
  if (!answer && answer.error().is(err::not_found))
    return std::move(home).error().while_doing("the pool is not served, and");
  return answer;
}

}  // namespace

Result<std::unique_ptr<thin::Home>> open_home(const Session& session, const std::string& pool) {
  return thin::Home::open(pool, {.timer = false, .log = session.warnings(), .open = open_named});
}

Result<Json> ask_pool(const Session& session, const std::string& pool, const Json& request) {
  return with_pool(session, pool, OnSignals::end_process, [&](const Ask& ask) { return ask(request); });
}

Result<Json> ask_pool_to_import(const Session& session, const std::string& pool, const Json& request) {
  return with_pool(session, pool, OnSignals::end_work, [&](const Ask& ask) {
    const ImportBar bar(ask, request["name"].get<std::string>());
    return ask(request);
  });
}

}  // namespace karst::cli

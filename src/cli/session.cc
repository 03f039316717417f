#include "cli/session.h"

#include <unistd.h>

#include <cstdio>

namespace karst::cli {

Session::Session() : text_(stderr), limited_(text_), log_(limited_) {}

void Session::verb(CLI::App& verb, std::function<Result<int>()> run) {
  verb.callback([this, run = std::move(run)] { chosen_ = run; });
}

void Session::offer_json(CLI::App& verb) { verb.add_flag("--json", json_, "Print the facts as JSON"); }

int Session::finish(CLI::App& app) {
  if (!chosen_) {
    fputs(app.help().c_str(), stderr);
    return exit_usage;
  }
  auto status = chosen_();
  if (fflush(stdout) != 0 || ferror(stdout)) {
    // Whoever read our output has gone; that is its business.
    if (errno == EPIPE) return exit_failed;
    log_.error("writing the output", {});
    return exit_failed;
  }
  if (status) return *status;
  fmt::print(stderr, "karst: {}\n", status.error().message());
  return exit_failed;
}

}  // namespace karst::cli

#include "cli/session.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <new>
#include <system_error>

#include "cli/output.h"

namespace karst::cli {

Session::Session() : text_(stderr), limited_(text_), log_(limited_), warnings_(limited_, LogLevel::warning) {}

void Session::verb(CLI::App& verb, std::function<Result<int>()> run) {
  verb.callback([this, run = std::move(run)] { chosen_ = run; });
}

void Session::offer_json(CLI::App& verb) { verb.add_flag("--json", json_, "Print the facts as JSON"); }

// fmt throws where printing fails; that ends the verb.
Result<int> Session::run_chosen() const {
  try {
    return chosen_();
  } catch (const std::system_error& error) {
    return output_error(error.code().value());
  } catch (const std::bad_alloc&) {
    return Error(err::no_memory, "not enough memory");
  }
}

int Session::finish(CLI::App& app) {
  if (!chosen_) {
    fputs(app.help().c_str(), stderr);
    return exit_usage;
  }
  auto status = run_chosen();
  if (fflush(stdout) != 0 && status)
    status = output_error(errno);
  else if (ferror(stdout) && status)
    status = output_error(EIO);
  if (status) return *status;
  if (status.error().is(no_reader)) return exit_failed;
  print_problem(status.error());
  return exit_failed;
}

}  // namespace karst::cli

// karst thin status, message, events and grow: a pool's state, and what changes it.
#include "block/open.h"
#include "cli/pool_request.h"
#include "cli/thin.h"

namespace karst::cli {
namespace {

struct PoolArguments {
  std::string pool, size, metadata_size;
  std::vector<std::string> words;
  uint64_t after = 0;
  bool follow = false, no_volumes = false;
};
using Arguments = std::shared_ptr<PoolArguments>;

void print_status(const Session& session, const PoolArguments& arguments, const Json& status) {
  if (session.json()) {
    fmt::print("{}\n", status.dump(2));
    return;
  }
  fmt::print("{}\n", status["status"].get<std::string>());
  if (arguments.no_volumes) return;
  for (const Json& volume : status["volumes"])
    fmt::print("{}: {}\n", volume["name"].get<std::string>(), volume["status"].get<std::string>());
}

Result<int> run_status(const Session& session, const PoolArguments& arguments) {
  print_status(session, arguments,
               TRY(ask_pool(session, arguments.pool,
                            {{"command", "status"}, {"with_volumes", !arguments.no_volumes}})));
  return exit_ok;
}

Result<int> run_message(const Session& session, const PoolArguments& arguments) {
  const std::string text = fmt::format("{}", fmt::join(arguments.words, " "));
  const Json answer = TRY(ask_pool(session, arguments.pool, {{"command", "message"}, {"text", text}}));
  if (session.json())
    fmt::print("{}\n", answer.dump(2));
  else if (answer["output"].is_string())
    fmt::print("{}\n", answer["output"].get<std::string>());
  return exit_ok;
}

Result<int> run_events(const Session& session, const PoolArguments& arguments) {
  uint64_t after = arguments.after;
  do {
    const Json answer = TRY(ask_pool(session, arguments.pool, {{"command", "events"}, {"after", after}}));
    const auto now = answer["events"].get<uint64_t>();
    if (now <= after && arguments.follow) return exit_ok;  // the pool was closed
    after = now;
    if (session.json())
      fmt::print("{}\n", answer.dump());
    else
      fmt::print("{}\n", after);
    fflush(stdout);
  } while (arguments.follow);
  return exit_ok;
}

Result<int> run_grow(const Session& session, const PoolArguments& arguments) {
  Json request{{"command", "grow"}};
  if (!arguments.size.empty()) request["data_size"] = TRY(block::parse_size(arguments.size));
  if (!arguments.metadata_size.empty())
    request["metadata_size"] = TRY(block::parse_size(arguments.metadata_size));
  if (request.size() == 1) return Error(err::invalid, "--size or --metadata-size says how large");
  print_status(session, arguments, TRY(ask_pool(session, arguments.pool, request)));
  return exit_ok;
}

CLI::App& declare(CLI::App& thin, Session& session, const char* name, const char* what,
                  const Arguments& arguments, Result<int> (*run)(const Session&, const PoolArguments&)) {
  CLI::App& verb = *thin.add_subcommand(name, what);
  verb.add_option("POOL", arguments->pool, "The pool's file")->required();
  session.offer_json(verb);
  session.verb(verb, [&session, arguments, run] { return run(session, *arguments); });
  return verb;
}

}  // namespace

void add_thin_status(CLI::App& thin, Session& session) {
  const auto arguments = std::make_shared<PoolArguments>();
  CLI::App& status =
      declare(thin, session, "status", "Print a pool's state, as dmsetup status does", arguments, run_status);
  status.add_flag("--no-volumes", arguments->no_volumes, "The pool only");

  CLI::App& message = declare(thin, session, "message", "Send a pool a message, as dmsetup message does",
                              arguments, run_message);
  message.add_option("WORD", arguments->words, "create_thin 0, create_snap 1 0, delete 1 …")->required();

  CLI::App& events = declare(thin, session, "events", "Wait for a pool's next event", arguments, run_events);
  events.add_option("--after", arguments->after, "The number of events seen already (default 0)")
      ->type_name("N");
  events.add_flag("-f,--follow", arguments->follow,
                  "Print the number after each event, until the pool is closed");

  CLI::App& grow = declare(thin, session, "grow", "Make a pool's data or metadata larger, in use or not",
                           arguments, run_grow);
  grow.add_option("-s,--size", arguments->size, "The new size for data")->type_name("SIZE");
  grow.add_option("--metadata-size", arguments->metadata_size, "The new size for metadata")
      ->type_name("SIZE");
}

}  // namespace karst::cli

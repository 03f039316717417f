// karst thin serve: nbdkit with karst's plugin.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "cli/pool_request.h"
#include "cli/thin.h"

namespace karst::cli {
namespace {

struct ServeArguments {
  std::string pool, socket, port, address, cache_size, tls, tls_certificates, tls_psk, run;
  unsigned threads = 16;
  bool read_only = false;
  std::vector<std::string> more;
};

// Beside the program, where it was built or installed; KARST_NBDKIT_PLUGIN says another.
Result<std::string> plugin_path() {
  if (const char* named = std::getenv("KARST_NBDKIT_PLUGIN")) return std::string(named);
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  constexpr const char* name = "nbdkit-karst-plugin.so";
  for (const char* directory : {"../lib", "../lib/nbdkit/plugins", "../" KARST_LIBDIR "/nbdkit/plugins"}) {
    const auto path = program.parent_path() / directory / name;
    if (std::filesystem::exists(path, error)) return path.lexically_normal().string();
  }
  return Error(err::not_found, "karst's plugin for nbdkit is not installed").at("file", name);
}

Result<int> run_serve(const Session& session, const ServeArguments& arguments) {
  const std::string plugin = TRY(plugin_path());
  const std::string pool = std::filesystem::absolute(arguments.pool).string();
  // Says what is wrong before nbdkit runs; and nobody serves it, so a socket that is there is a dead one's.
  TRY(open_home(session, pool));
  std::vector<std::string> parameters{"pool=" + pool};
  std::vector<std::string> words{"nbdkit", "-f", "-t", fmt::format("{}", arguments.threads)};
  if (!arguments.port.empty()) {
    words.insert(words.end(),
                 {"-p", arguments.port, "-i", arguments.address.empty() ? "localhost" : arguments.address});
  } else {
    const std::string socket = arguments.socket.empty() ? pool + ".nbd" : arguments.socket;
    std::error_code error;
    if (std::filesystem::is_socket(socket, error)) std::filesystem::remove(socket, error);
    words.insert(words.end(), {"-U", socket});
    parameters.push_back("socket=" + std::filesystem::absolute(socket).string());
  }
  if (arguments.read_only) words.push_back("-r");
  if (!arguments.tls.empty()) words.push_back("--tls=" + arguments.tls);
  if (!arguments.tls_certificates.empty())
    words.push_back("--tls-certificates=" + arguments.tls_certificates);
  if (!arguments.tls_psk.empty()) words.push_back("--tls-psk=" + arguments.tls_psk);
  words.insert(words.end(), arguments.more.begin(), arguments.more.end());
  if (!arguments.cache_size.empty()) parameters.push_back("cache-size=" + arguments.cache_size);
  words.push_back(plugin);
  words.insert(words.end(), parameters.begin(), parameters.end());
  if (!arguments.run.empty()) words.insert(words.begin() + 1, {"--run", arguments.run});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp("nbdkit", argv.data());
  return Error::from_errno(errno, "cannot run nbdkit");
}

}  // namespace

void add_thin_serve(CLI::App& thin, Session& session) {
  CLI::App& verb = *thin.add_subcommand("serve", "Serve a pool's volumes over NBD, until interrupted");
  auto arguments = std::make_shared<ServeArguments>();
  verb.add_option("POOL", arguments->pool, "The pool's file")->required();
  verb.add_option("-U,--socket", arguments->socket, "The unix socket (default POOL.nbd)")->type_name("PATH");
  verb.add_option("-p,--port", arguments->port, "Serve over TCP at this port instead")->type_name("PORT");
  verb.add_option("-a,--address", arguments->address, "Listen at this address (default localhost)")
      ->type_name("ADDRESS");
  verb.add_option("-t,--threads", arguments->threads, "Requests served at once for each client (default 16)")
      ->type_name("N");
  verb.add_flag("-r,--read-only", arguments->read_only, "Clients may not write");
  verb.add_option("--tls", arguments->tls, "off, on or require, as nbdkit has it")->type_name("MODE");
  verb.add_option("--tls-certificates", arguments->tls_certificates, "The directory of certificates")
      ->type_name("DIR");
  verb.add_option("--tls-psk", arguments->tls_psk,
                  "The file of users and their keys, instead of certificates")
      ->type_name("FILE");
  verb.add_option("--cache-size", arguments->cache_size, "Memory for metadata (default 64M)")
      ->type_name("SIZE");
  verb.add_option("--run", arguments->run, "Run this command, with $uri and $unixsocket, and end with it")
      ->type_name("COMMAND");
  verb.add_option("--nbdkit", arguments->more, "A further word for nbdkit (repeatable)")
      ->type_name("WORD")
      ->allow_extra_args(false);
  session.verb(verb, [&session, arguments] { return run_serve(session, *arguments); });
}

}  // namespace karst::cli

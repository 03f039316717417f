// karst thin volume add|snapshot|rm|ls|rename|resize: the volumes of a pool.
#include "block/disk_image.h"
#include "cli/open_named.h"
#include "cli/pool_request.h"
#include "cli/thin.h"

namespace karst::cli {
namespace {

struct VolumeArguments {
  std::string pool, name, of, to, size, origin, from, format;
  std::vector<std::string> names;
  std::optional<uint32_t> id;
  bool read_only = false;
};

void print_volume(const Session& session, const Json& volume) {
  if (session.json())
    fmt::print("{}\n", volume.dump(2));
  else
    fmt::print("{} {}\n", volume["id"].get<uint32_t>(), volume["name"].get<std::string>());
}

void add_id(Json& request, const VolumeArguments& arguments) {
  if (arguments.id) request["id"] = *arguments.id;
}

Result<int> run_add(const Session& session, const VolumeArguments& arguments) {
  Json request{{"command", "volume-add"}, {"name", arguments.name}};
  uint64_t size = 0;
  if (!arguments.origin.empty()) {
    TRY(check_no_volume(arguments.origin, "an origin"));
    request["origin"] = absolute_name(arguments.origin);
    size = TRY(open_named(arguments.origin, block::OpenMode::read_only))->size();
  }
  if (!arguments.from.empty()) {
    request["from"] = block::is_url(arguments.from) ? arguments.from : absolute_name(arguments.from);
    if (!arguments.format.empty()) request["format"] = arguments.format;
  }
  if (!arguments.size.empty()) size = TRY(block::parse_size(arguments.size));
  if (size == 0 && arguments.from.empty()) return Error(err::invalid, "--size says how large the volume is");
  if (size != 0) request["size"] = size;
  add_id(request, arguments);
  print_volume(session, TRY(arguments.from.empty() ? ask_pool(session, arguments.pool, request)
                                                   : ask_pool_to_import(session, arguments.pool, request)));
  return exit_ok;
}

Result<int> run_snapshot(const Session& session, const VolumeArguments& arguments) {
  Json request{{"command", "volume-snapshot"},
               {"of", arguments.of},
               {"name", arguments.name},
               {"read_only", arguments.read_only}};
  add_id(request, arguments);
  print_volume(session, TRY(ask_pool(session, arguments.pool, request)));
  return exit_ok;
}

Result<int> run_rm(const Session& session, const VolumeArguments& arguments) {
  int status = exit_ok;
  for (const std::string& name : arguments.names) {
    const auto removed = ask_pool(session, arguments.pool, {{"command", "volume-remove"}, {"name", name}});
    if (removed) continue;
    if (arguments.names.size() == 1) return removed.error().clone();
    print_problem(name, removed.error());
    status = exit_problems;
  }
  return status;
}

Result<int> run_rename(const Session& session, const VolumeArguments& arguments) {
  print_volume(session,
               TRY(ask_pool(session, arguments.pool,
                            {{"command", "volume-rename"}, {"name", arguments.name}, {"to", arguments.to}})));
  return exit_ok;
}

Result<int> run_resize(const Session& session, const VolumeArguments& arguments) {
  const uint64_t size = TRY(block::parse_size(arguments.size));
  print_volume(session,
               TRY(ask_pool(session, arguments.pool,
                            {{"command", "volume-resize"}, {"name", arguments.name}, {"size", size}})));
  return exit_ok;
}

Result<int> run_ls(const Session& session, const VolumeArguments& arguments) {
  const Json answer = TRY(ask_pool(session, arguments.pool, {{"command", "volume-list"}}));
  if (session.json()) {
    fmt::print("{}\n", answer.dump(2));
    return exit_ok;
  }
  fmt::print("{:>8} {:>10} {:>10}  {:<24} {}\n", "ID", "SIZE", "MAPPED", "NAME", "SNAPSHOT OF");
  for (const Json& volume : answer["volumes"]) {
    const std::string of = volume["snapshot_of"].is_null() ? "-" : volume["snapshot_of"].get<std::string>();
    fmt::print("{:>8} {:>10} {:>10}  {:<24} {}{}\n", volume["id"].get<uint32_t>(),
               size_text(volume["size"].get<uint64_t>()), size_text(volume["mapped"].get<uint64_t>()),
               volume["name"].get<std::string>(), of, volume["read_only"].get<bool>() ? " (read-only)" : "");
  }
  for (const Json& import : answer["imports"]) {
    const auto done = import["done"].get<uint64_t>(), total = import["total"].get<uint64_t>();
    fmt::print("{:>8} {:>10} {:>10}  {:<24} being imported, {}%\n",
               import["id"].is_null() ? "-" : fmt::format("{}", import["id"].get<uint32_t>()),
               size_text(total), "-", import["name"].get<std::string>(), total == 0 ? 0 : done * 100 / total);
  }
  return exit_ok;
}

using Arguments = std::shared_ptr<VolumeArguments>;

CLI::App& declare(CLI::App& volume, Session& session, const char* name, const char* what,
                  const Arguments& arguments, Result<int> (*run)(const Session&, const VolumeArguments&)) {
  CLI::App& verb = *volume.add_subcommand(name, what);
  verb.add_option("POOL", arguments->pool, "The pool's file")->required();
  session.verb(verb, [&session, arguments, run] { return run(session, *arguments); });
  return verb;
}

}  // namespace

void add_thin_volume(CLI::App& thin, Session& session) {
  CLI::App& volume = *thin.add_subcommand("volume", "Make, list and remove the volumes of a pool");
  volume.require_subcommand(1);
  const auto arguments = std::make_shared<VolumeArguments>();

  CLI::App& add = declare(volume, session, "add", "Make a volume", arguments, run_add);
  add.add_option("NAME", arguments->name, "Its name")->required();
  add.add_option("-s,--size", arguments->size, "Its size, such as 20G")->type_name("SIZE");
  auto* origin =
      add.add_option("--origin", arguments->origin, "Read what is not written from this file or device")
          ->type_name("FILE");
  auto* from =
      add.add_option(
             "--from", arguments->from,
             "Fill it with this image: a file, device or URL; as large as that, unless --size says more")
          ->type_name("IMAGE")
          ->excludes(origin);
  add.add_option("--format", arguments->format,
                 "What --from is: raw, or as qemu-nbd calls it (qcow2, vmdk, vhdx, vdi)")
      ->type_name("FORMAT")
      ->needs(from);
  add.add_option("--id", arguments->id, "Its device id (default: the lowest that is free)")->type_name("ID");
  session.offer_json(add);

  CLI::App& snapshot = declare(volume, session, "snapshot", "Make a snapshot of a volume, in use or not",
                               arguments, run_snapshot);
  snapshot.add_option("OF", arguments->of, "The volume or snapshot, by name or id")->required();
  snapshot.add_option("NAME", arguments->name, "The snapshot's name")->required();
  snapshot.add_flag("-r,--read-only", arguments->read_only, "Nobody may write to it");
  snapshot.add_option("--id", arguments->id, "Its device id (default: the lowest that is free)")
      ->type_name("ID");
  session.offer_json(snapshot);

  CLI::App& rm = declare(volume, session, "rm", "Remove volumes and what only they have", arguments, run_rm);
  rm.add_option("NAME", arguments->names, "By name or id")->required();

  session.offer_json(declare(volume, session, "ls", "List volumes and snapshots", arguments, run_ls));

  CLI::App& rename = declare(volume, session, "rename", "Give a volume another name", arguments, run_rename);
  rename.add_option("NAME", arguments->name, "By name or id")->required();
  rename.add_option("TO", arguments->to, "The new name")->required();

  CLI::App& resize = declare(volume, session, "resize", "Make a volume larger", arguments, run_resize);
  resize.add_option("NAME", arguments->name, "By name or id")->required();
  resize.add_option("SIZE", arguments->size, "The new size")->required();
}

}  // namespace karst::cli

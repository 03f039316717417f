// karst btrfs du: what files take up, and how much of it they share.
#include "btrfs/tool/du.h"
#include "cli/image_arguments.h"
#include "cli/output.h"

namespace karst::cli {
namespace {

struct DuArguments {
  ImageArguments image;
  std::vector<std::string> paths;
  btrfs::DuOptions options;
  bool raw = false;
};

class UsePrinter {
 public:
  UsePrinter(const Session& session, bool in_bytes) : in_bytes_(in_bytes) {
    if (session.json())
      array_.emplace();
    else
      fmt::print("{:>10}  {:>10}  {:>10}  {}\n", "Total", "Exclusive", "Set shared", "Filename");
  }
  Result<void> print(const btrfs::DiskUse& use) {
    if (array_) {
      Json object;
      set_name(object, "path", use.path);
      object["type"] = use.is_directory ? "directory" : "regular file";
      object["total"] = use.total;
      object["exclusive"] = use.exclusive;
      object["set_shared"] = use.set_shared ? Json(*use.set_shared) : Json();
      array_->add(object);
    } else {
      fmt::print("{:>10}  {:>10}  {:>10}  {}\n", size(use.total), size(use.exclusive),
                 use.set_shared ? size(*use.set_shared) : "-", shown_name(use.path));
    }
    return {};
  }

 private:
  std::string size(uint64_t bytes) const { return in_bytes_ ? fmt::format("{}", bytes) : size_text(bytes); }
  bool in_bytes_;
  std::optional<JsonArray> array_;
};

Result<int> run_du(const Session& session, const DuArguments& arguments) {
  auto opened = TRY(arguments.image.open(session));
  auto paths = arguments.paths;
  if (paths.empty()) paths.push_back("/");
  UsePrinter printer(session, arguments.raw);
  int status = exit_ok;
  for (const std::string& path : paths) {
    auto start = btrfs::resolve(opened.fs(), opened.image->root(), path, btrfs::LastSymlink::follow);
    if (!start) {
      print_problem(start.error());
      status = exit_problems;
      continue;
    }
    if (TRY(btrfs::measure_disk_use(*opened.image, *start, path, arguments.options,
                                    [&](const btrfs::DiskUse& use) { return printer.print(use); })))
      status = exit_problems;
  }
  return status;
}

}  // namespace

void add_btrfs_du(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("du", "Print what files take up, and how much of it they share");
  auto arguments = std::make_shared<DuArguments>();
  arguments->image.declare(verb);
  verb.add_option("PATH", arguments->paths, "Directories or files in the image (default: /)");
  verb.add_flag("-s,--summarize", arguments->options.summarize, "Only one line for each PATH");
  verb.add_flag("--raw", arguments->raw, "Print bytes");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_du(session, *arguments); });
}

}  // namespace karst::cli

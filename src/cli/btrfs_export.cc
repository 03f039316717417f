// karst btrfs export: a directory tree as a tar archive.

#include "block/open.h"
#include "btrfs/tool/export.h"
#include "cli/image_arguments.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/output_file.h"
#include "cli/progress_bar.h"

namespace karst::cli {
namespace {

struct ExportArguments {
  ImageArguments image;
  std::string path = "/";
  std::string output;
  std::string memory = "32M";
  unsigned threads = 0;
  bool one_subvolume = false, force = false;
};

Result<int> run_export(const Session& session, const ExportArguments& arguments) {
  auto opened = TRY(arguments.image.open(session));
  auto start = TRY(btrfs::resolve(opened.fs(), opened.image->root(), arguments.path));
  const CancelToken cancel = cancelled_by_signals();
  auto output = TRY(OutputFile::create(
      arguments.output,
      {.inputs = arguments.image.options().devices, .force = arguments.force, .cancel = cancel}));
  auto pool = TRY(WorkerPool::create({.name = "export", .threads = arguments.threads}));

  Progress progress;
  progress.begin_phase("exporting");
  btrfs::ExportOptions options;
  options.walk.cross_subvolumes = !arguments.one_subvolume;
  options.memory = TRY(block::parse_size(arguments.memory));
  options.cancel = cancel;
  options.progress = progress;

  Result<btrfs::ExportReport> report = [&] {
    ProgressBar bar(progress);
    return btrfs::export_tar(*opened.image, start, options, *pool,
                             [&](std::span<iovec> vectors) { return output.write(vectors); });
  }();
  if (!report) return std::move(report).error();
  TRY(output.commit());
  if (report->sockets)
    session.log().warning("sockets were left out: tar has no place for them", {{"count", report->sockets}});
  if (session.json()) {
    Json object{{"entries", report->entries},
                {"bytes", report->bytes},
                {"sockets", report->sockets},
                {"errors", report->errors}};
    fmt::print(stderr, "{}\n", object.dump());
  }
  return report->errors ? exit_problems : exit_ok;
}

}  // namespace

void add_btrfs_export(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("export", "Write a directory tree as a tar archive (pax)");
  auto arguments = std::make_shared<ExportArguments>();
  arguments->image.declare(verb);
  verb.add_option("PATH", arguments->path, "Directory or file in the image")->capture_default_str();
  verb.add_option("-o,--output", arguments->output, "The archive; - is standard output")
      ->type_name("FILE")
      ->required();
  add_threads(verb, arguments->threads, "Threads that read");
  add_memory(verb, arguments->memory, 1 << 20, "File contents in flight");
  verb.add_flag("--one-subvolume", arguments->one_subvolume, "Do not go into other subvolumes");
  verb.add_flag("--force", arguments->force, "Overwrite the archive if it exists");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_export(session, *arguments); });
}

}  // namespace karst::cli

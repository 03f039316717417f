// karst btrfs cat: writes files' contents to standard output.
#include <unistd.h>

#include "btrfs/tool/stream.h"
#include "cli/image_arguments.h"
#include "cli/output.h"

namespace karst::cli {
namespace {

struct CatArguments {
  ImageArguments image;
  std::vector<std::string> paths;
  unsigned threads = 0;
};

Result<void> write_out(Bytes bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return output_error(errno);
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return {};
}

Result<int> run_cat(const Session& session, const CatArguments& arguments) {
  auto opened = TRY(arguments.image.open(session));
  auto pool = TRY(WorkerPool::create({.name = "read", .threads = arguments.threads}));
  int status = exit_ok;
  for (const std::string& path : arguments.paths) {
    bool output_failed = false;
    auto write = [&](Bytes bytes) {
      auto written = write_out(bytes);
      output_failed = !written;
      return written;
    };
    auto done = [&]() -> Result<void> {
      auto file = TRY(btrfs::resolve(opened.fs(), opened.image->root(), path, btrfs::LastSymlink::follow));
      return btrfs::stream_file(*opened.image, file, {}, *pool, write);
    }();
    if (done) continue;
    if (output_failed) return std::move(done).error();
    print_problem(path, done.error());
    status = exit_problems;
  }
  return status;
}

}  // namespace

void add_btrfs_cat(CLI::App& btrfs, Session& session) {
  CLI::App& verb = *btrfs.add_subcommand("cat", "Write files to standard output");
  auto arguments = std::make_shared<CatArguments>();
  arguments->image.declare(verb);
  verb.add_option("PATH", arguments->paths, "Files in the image; symbolic links are followed")->required();
  add_threads(verb, arguments->threads, "Threads that read ahead");
  session.verb(verb, [&session, arguments] { return run_cat(session, *arguments); });
}

}  // namespace karst::cli

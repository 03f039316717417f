// karst thin restore: a pool's metadata from XML.
#include "thin/tool/restore.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "cli/output.h"
#include "cli/thin.h"
#include "cli/thin_arguments.h"
#include "core/unique_fd.h"
#include "thin/tool/xml_reader.h"

namespace karst::cli {
namespace {

struct ThinRestoreArguments {
  std::string input, output;
  thin::PoolOverrides overrides;
  bool force = false, quiet = false;
};

Result<void> restore_from(int fd, const std::string& name, thin::Restorer& restorer) {
  const auto read = [fd](MutableBytes into) -> Result<size_t> {
    for (;;) {
      const ssize_t length = ::read(fd, into.data(), into.size());
      if (length >= 0) return static_cast<size_t>(length);
      if (errno != EINTR) return Error::from_errno(errno, "reading");
    }
  };
  return thin::read_pool_xml(read, restorer).context([&] { return name; });
}

void print_report(const thin::Restorer::Report& report) {
  for (const thin::DeviceId id : report.wrong_counts)
    fmt::print(stderr,
               "karst: device {}: 'mapped_blocks' was wrong; what is written has the number of mappings\n",
               id);
  fmt::print("{} devices, {} mappings, {} metadata blocks used\n", report.devices, report.mappings,
             report.metadata_blocks);
}

Result<int> run_thin_restore(const ThinRestoreArguments& arguments) {
  const bool standard = arguments.input == "-";
  UniqueFd input;
  if (!standard) {
    input = UniqueFd(::open(arguments.input.c_str(), O_RDONLY | O_CLOEXEC));
    if (input.get() < 0) return Error::from_errno(errno, arguments.input);
    TRY(check_other_device(arguments.input, arguments.output));
  }
  const auto device = TRY(open_thin_target(arguments.output, arguments.force));
  const auto restorer = TRY(thin::Restorer::create(*device, arguments.overrides));
  TRY(restore_from(standard ? STDIN_FILENO : input.get(), standard ? "standard input" : arguments.input,
                   *restorer));
  if (!arguments.quiet) print_report(restorer->report());
  return exit_ok;
}

}  // namespace

void add_thin_restore(CLI::App& thin, Session& session) {
  CLI::App& verb = *thin.add_subcommand("restore", "Make a pool's metadata from XML");
  auto arguments = std::make_shared<ThinRestoreArguments>();
  verb.add_option("-i,--input", arguments->input, "XML as of thin dump; - for standard input")
      ->type_name("FILE")
      ->required();
  verb.add_option("-o,--output", arguments->output, "File or block device for the metadata, which is there")
      ->type_name("METADATA")
      ->required();
  add_pool_overrides(verb, arguments->overrides);
  verb.add_flag("--force", arguments->force, "Overwrite what is there");
  verb.add_flag("-q,--quiet", arguments->quiet, "Do not print what was restored");
  session.verb(verb, [arguments] { return run_thin_restore(*arguments); });
}

}  // namespace karst::cli

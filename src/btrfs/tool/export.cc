#include "btrfs/tool/export.h"

namespace karst::btrfs {
namespace {

const char* in_words(CopyLoss::Kind kind) {
  switch (kind) {
    case CopyLoss::Kind::entry: return "cannot be exported";
    case CopyLoss::Kind::attributes: return "attributes cannot be read";
    case CopyLoss::Kind::extents: return "a file's extents cannot be listed";
    case CopyLoss::Kind::unreachable: return "a range of a file cannot be read and is a hole in the archive";
    case CopyLoss::Kind::range: return "a range of a file cannot be read and is zeroes in the archive";
    case CopyLoss::Kind::unverified: return "a range of a file does not match its checksum";
    case CopyLoss::Kind::names: return "a directory cannot be listed";
    case CopyLoss::Kind::older: return "may be of an older state";
  }
  return "";
}

void log_loss(const Logger& log, const CopyLoss& loss) {
  if (loss.length > 0)
    log.error(in_words(loss.kind), {{"path", loss.path}, {"offset", loss.offset}, {"length", loss.length}},
              &loss.error);
  else if (!loss.path.empty())
    log.error(in_words(loss.kind), {{"path", loss.path}}, &loss.error);
  else
    log.error(in_words(loss.kind), {}, &loss.error);
}

// The entries of a walk.
class WalkSource final : public EntrySource {
 public:
  WalkSource(const Filesystem& fs, const Located& start, WalkOptions options) : walker_(fs, start, options) {}
  Result<std::optional<WalkEntry>> next() override { return walker_.next(); }

 private:
  Walker walker_;
};

}  // namespace

Result<ExportReport> export_tar(const Image& image, const Located& start, const ExportOptions& options,
                                WorkerPool& pool, TarSink sink) {
  WalkSource source(image.fs(), start, options.walk);
  TarTarget target(sink);
  const CopyOptions copy{.memory = options.memory, .cancel = options.cancel, .progress = options.progress};
  auto copied = TRY(copy_tree(image.fs(), image.data(), source, target, copy, pool,
                              [&](const CopyLoss& loss) { log_loss(image.fs().log(), loss); }));
  TRY(target.finish());
  return ExportReport{copied.entries, copied.bytes, copied.sockets, copied.losses};
}

}  // namespace karst::btrfs

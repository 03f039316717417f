#include "btrfs/tool/tar_target.h"

#include "btrfs/tool/tar_writer.h"

namespace karst::btrfs {
namespace {

struct TarPart : CopyTarget::Part {
  TarBuffers buffers;
};

TarBuffers& buffers_of(CopyTarget::Part& part) { return static_cast<TarPart&>(part).buffers; }

void name_for_archive(CopiedEntry& entry) {
  entry.path.insert(0, "./");
  if (entry.attributes.is_directory() && entry.path.size() > 2) entry.path += '/';
  if (!entry.hardlink.empty()) entry.hardlink.insert(0, "./");
}

}  // namespace

std::unique_ptr<CopyTarget::Part> TarTarget::new_part() { return std::make_unique<TarPart>(); }

Result<void> TarTarget::add(Part& part, CopiedEntry& entry, Bytes contents, Failures) {
  name_for_archive(entry);
  return TarWriter(buffers_of(part)).add(entry, contents);
}

Result<void> TarTarget::begin_pieces(Part& part, CopiedEntry& entry) {
  name_for_archive(entry);
  return TarWriter(buffers_of(part)).add_header(entry);
}

Result<void> TarTarget::add_piece(Part& part, const CopiedEntry& entry, uint64_t, Bytes contents, Failures,
                                  bool last) {
  buffers_of(part).borrow(contents);
  if (!last) return {};
  uint64_t stored = 0;
  for (auto [offset, length] : entry.data) stored += length;
  buffers_of(part).zeroes(contents_padding(stored));
  return {};
}

Result<void> TarTarget::take(Part& part) {
  TRY(sink_(buffers_of(part).vectors()));
  written_ += buffers_of(part).size();
  return {};
}

Result<void> TarTarget::finish() {
  TarBuffers end;
  end.zeroes(end_padding(written_));
  return sink_(end.vectors());
}

}  // namespace karst::btrfs

// Input: one byte (its lowest bit: whiteouts apply; the next: errors are skipped), then an archive. The
// inventory it makes is settled and walked.
#include <sys/mman.h>

#include "btrfs/tool/build/archive_source.h"

using namespace karst;
using namespace karst::btrfs::build;

namespace {
// Counts what it is given; offsets that do not ascend are a mistake of the reader.
class CountingStore : public ContentStore {
 public:
  Result<void> begin_file(std::string_view, const Properties&, uint64_t) override {
    end_ = 0;
    return {};
  }
  Result<void> write(uint64_t offset, Bytes data) override {
    if (offset < end_) return Error(err::corrupt, "data goes back");
    end_ = offset + data.size();
    return {};
  }
  Result<ContentToken> end_file(uint64_t size) override {
    if (size < end_) __builtin_trap();
    return ContentToken(8, static_cast<std::byte>(++count_));
  }
  void abandon_file() override {}
  void release(Bytes) override {}

 private:
  uint64_t end_ = 0;
  int count_ = 0;
};

void walk_all(const Layout& layout) {
  Walk walk = layout.walk();
  while (walk.next_subvolume().value())
    while (walk.next().value())
      while (walk.next_child().value()) {
      }
}
}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  UniqueFd file(::memfd_create("archive", MFD_CLOEXEC));
  if (!file || ::write(file.get(), data + 1, size - 1) < 0 || ::lseek(file.get(), 0, SEEK_SET) != 0) return 0;
  SkipSourceErrors skip{Logger()};
  SourceOptions options;
  if (data[0] & 2) options.errors = &skip;
  const SourceSpec spec;
  CountingStore store;
  auto inventory =
      Inventory::create({.memory = 1 << 20, .temporary_directory = "/tmp", .errors = options.errors},
                        {{{.path = "a/b"}}, {}, {}});
  const ArchiveRead read{.fd = file.get(),
                         .name = "archive",
                         .target = "",
                         .whiteouts = (data[0] & 1) != 0,
                         .digest = std::nullopt,
                         .number = 0,
                         .spec = spec,
                         .options = options};
  if (!read_archive(read, *inventory, store)) return 0;
  if (auto layout = inventory->finish(&store)) walk_all(*layout);
  return 0;
}

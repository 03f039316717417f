#include "cli/thin_arguments.h"

#include <sys/stat.h>
#include "cli/open_named.h"

#include <cerrno>
#include <charconv>

#include "block/held_device.h"
#include "cli/image_arguments.h"
#include "cli/output.h"
#include "cli/output_file.h"
#include "thin/home/pool_file.h"

namespace karst::cli {
namespace {

class StandardOutput final : public ThinOutput {
 public:
  Result<void> write(std::string_view text) override {
    if (fwrite(text.data(), 1, text.size(), stdout) != text.size()) return output_error(errno);
    return {};
  }
  Result<void> commit() override { return {}; }
};

class NamedOutput final : public ThinOutput {
 public:
  explicit NamedOutput(OutputFile file) : file_(std::move(file)) {}
  Result<void> write(std::string_view text) override {
    iovec buffer{const_cast<char*>(text.data()), text.size()};
    return file_.write({&buffer, 1});
  }
  Result<void> commit() override { return file_.commit(); }

 private:
  OutputFile file_;
};

}  // namespace

Result<std::unique_ptr<ThinOutput>> ThinOutput::create(const std::string& file, bool force,
                                                       const std::vector<std::string>& inputs) {
  if (file.empty()) return std::unique_ptr<ThinOutput>(new StandardOutput);
  auto output = TRY(OutputFile::create(file, {.inputs = inputs, .force = force}));
  return std::unique_ptr<ThinOutput>(new NamedOutput(std::move(output)));
}

void add_thin_cache_size(CLI::App& verb, std::string& cache_size) {
  verb.add_option("--cache-size", cache_size, "Memory to use")
      ->type_name("SIZE")
      ->check(size_at_least(1 << 20))
      ->capture_default_str();
}

void MetadataArguments::declare(CLI::App& verb) {
  verb.add_option("METADATA", metadata, "The pool's file, or the file or device with its metadata")
      ->required();
  verb.add_flag("-m,--metadata-snap", snapshot,
                "Read the metadata snapshot (=BLOCK: what is held there) and not the current state");
  add_thin_cache_size(verb, cache_size);
}

Result<thin::Reading> MetadataArguments::reading() const {
  if (snapshot.empty() || snapshot == "false") return thin::Reading{};
  if (snapshot == "true") return thin::Reading{.snapshot = true};
  uint64_t block = 0;
  const char* end = snapshot.data() + snapshot.size();
  if (auto [rest, error] = std::from_chars(snapshot.data(), end, block); error != std::errc() || rest != end)
    return Error::make(err::invalid, "--metadata-snap: '{}' is not the number of a block", snapshot);
  return thin::Reading{.snapshot = true, .snapshot_at = thin::MetadataBlock{block}};
}

Result<std::unique_ptr<block::Device>> open_thin_metadata(const std::string& name, block::OpenMode mode,
                                                          bool shared) {
  const auto path = path_of(name);
  if (!path || !TRY(thin::PoolFile::is_one(*path))) return open_named(name, mode, {.exclusive = !shared});
  const std::shared_ptr<thin::PoolFile> file = TRY(thin::PoolFile::open(*path, mode, shared));
  block::Device& metadata = *TRY(file->metadata());
  return std::make_unique<block::HeldDevice>(std::shared_ptr<block::Device>(file, &metadata), metadata.name(),
                                             true);
}

Result<std::unique_ptr<block::Device>> open_thin_target(const std::string& path, bool force) {
  auto device = TRY(open_thin_metadata(path, block::OpenMode::read_write));
  std::vector<std::byte> first(std::min<uint64_t>(thin::metadata_block_size, device->size()));
  TRY(device->read(0, first));
  if (force || all_zero(first)) return device;
  const bool pool =
      first.size() == thin::metadata_block_size && thin::read_superblock(*device, thin::superblock_at);
  return Error::make(err::exists, "{} {}; use --force to overwrite it", path,
                     pool ? "has the metadata of a thin pool" : "does not begin with a block of zeroes");
}

Result<void> check_other_device(const std::string& input, const std::string& output) {
  if (input == output) return Error::make(err::invalid, "not writing over what is read, {}", input);
  struct stat a {
  }, b{};
  if (::stat(input.c_str(), &a) != 0 || ::stat(output.c_str(), &b) != 0) return {};
  const bool same = S_ISBLK(a.st_mode) && S_ISBLK(b.st_mode) ? a.st_rdev == b.st_rdev
                                                             : a.st_dev == b.st_dev && a.st_ino == b.st_ino;
  if (same) return Error::make(err::invalid, "not writing over what is read, {}", input);
  return {};
}

Result<OpenedMetadata> MetadataArguments::open() const {
  const thin::Reading reading = TRY(this->reading());
  OpenedMetadata opened;
  opened.cache =
      std::make_unique<cache::Cache>(cache::CacheOptions{.limit = TRY(block::parse_size(cache_size))});
  opened.device = TRY(open_thin_metadata(metadata, block::OpenMode::read_only, reading.snapshot));
  opened.reader = TRY(thin::MetadataReader::open(*opened.device, *opened.cache, reading));
  return opened;
}

void add_pool_overrides(CLI::App& verb, thin::PoolOverrides& overrides) {
  verb.add_option("--transaction-id", overrides.transaction_id, "Instead of what the metadata says")
      ->type_name("N");
  verb.add_option("--data-block-size", overrides.data_block_size, "Likewise, in sectors")
      ->type_name("SECTORS");
  verb.add_option("--nr-data-blocks", overrides.nr_data_blocks, "Likewise")->type_name("N");
}

}  // namespace karst::cli

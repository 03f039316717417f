// The arguments of the verbs that read a pool's metadata, and opening it.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block/open.h"
#include "cli/session.h"
#include "thin/tool/dump.h"
#include "thin/tool/metadata_reader.h"

namespace karst::cli {

// What --cache-size is where nobody says.
inline constexpr const char* thin_cache_default = "256M";
void add_thin_cache_size(CLI::App& verb, std::string& cache_size);

// The metadata that a tool reads, or changes: of a device, or of a pool's file. Nobody else may have it in
// use, unless only a snapshot of it is read.
Result<std::unique_ptr<block::Device>> open_thin_metadata(const std::string& name, block::OpenMode mode,
                                                          bool shared = false);

// The same for new metadata to be written to: it is there, large enough or not, and ours alone. err::exists
// if its first block is not blank, unless forced.
Result<std::unique_ptr<block::Device>> open_thin_target(const std::string& path, bool force);
// err::invalid if both are the same file or device.
Result<void> check_other_device(const std::string& input, const std::string& output);

// Metadata and what is under it.
struct OpenedMetadata {
  std::unique_ptr<cache::Cache> cache;
  std::unique_ptr<block::Device> device;
  std::unique_ptr<thin::MetadataReader> reader;
};

struct MetadataArguments {
  std::string metadata;
  std::string snapshot;  // of -m: empty without, "true" without a value
  std::string cache_size = thin_cache_default;

  // Declares METADATA and the options.
  void declare(CLI::App& verb);
  Result<thin::Reading> reading() const;
  Result<OpenedMetadata> open() const;
};

// --transaction-id and its like.
void add_pool_overrides(CLI::App& verb, thin::PoolOverrides& overrides);

// To standard output, or where -o says.
class ThinOutput {
 public:
  static Result<std::unique_ptr<ThinOutput>> create(const std::string& file, bool force,
                                                    const std::vector<std::string>& inputs);
  virtual ~ThinOutput() = default;
  virtual Result<void> write(std::string_view text) = 0;
  virtual Result<void> commit() = 0;
};

}  // namespace karst::cli

#include "thin/home/pool_file.h"

#include <sys/stat.h>

#include <algorithm>

#include "block/open.h"
#include "thin/format/errors.h"
#include "thin/format/space_map.h"

namespace karst::thin {
namespace {

static_assert(PoolFile::metadata_at + metadata_blocks_max * metadata_block_size <= PoolFile::data_at);

uint64_t file_size_for(const PoolDescription& description) {
  if (description.data.empty()) return PoolFile::data_at + description.data_size;
  if (description.metadata.empty()) return PoolFile::metadata_at + description.metadata_size;
  return PoolFile::metadata_at;
}

block::FileOptions file_options(bool shared) { return {.exclusive = !shared}; }

}  // namespace

Result<std::unique_ptr<PoolFile>> PoolFile::create(const std::string& path, PoolDescription description,
                                                   bool replace) {
  struct stat info;
  const bool exists = ::stat(path.c_str(), &info) == 0;
  if (exists && !replace) return Error(err::exists, "the file exists").at("file", path);
  auto file = TRY(block::FileDevice::create(
      path, exists && S_ISREG(info.st_mode) ? 0 : file_size_for(description), file_options(false)));
  if (exists) TRY(file->resize(file_size_for(description)));
  DescriptionStore store = TRY(DescriptionStore::create(*file, std::move(description)));
  return std::unique_ptr<PoolFile>(
      new PoolFile(path, std::move(file), std::move(store), block::OpenMode::read_write, false));
}

Result<std::unique_ptr<PoolFile>> PoolFile::open(const std::string& path, block::OpenMode mode, bool shared) {
  auto file = TRY(block::FileDevice::open(path, mode, file_options(shared)));
  auto store = DescriptionStore::open(*file);
  if (!store) return std::move(store).error().at("file", path);
  return std::unique_ptr<PoolFile>(new PoolFile(path, std::move(file), *std::move(store), mode, shared));
}

Result<bool> PoolFile::is_one(const std::string& path) {
  const auto file = TRY(block::FileDevice::open(path, block::OpenMode::read_only));
  return DescriptionStore::is_one(*file);
}

Result<block::Device*> PoolFile::part(std::unique_ptr<block::Device>& part, const std::string& device,
                                      uint64_t at, uint64_t size, const char* name) {
  if (part) return part.get();
  if (!device.empty()) {
    part = TRY(block::open_device(device, mode_, file_options(shared_)));
  } else {
    if (file_->size() < at + size)
      return Error::make(err::corrupt, "the pool's file ends within its {}", name)
          .at("file", path_)
          .expected(at + size, file_->size());
    part = std::make_unique<block::SliceDevice>(*file_, at, size, fmt::format("{} ({})", path_, name));
  }
  return part.get();
}

Result<block::Device*> PoolFile::metadata() {
  return part(metadata_, description().metadata, metadata_at, description().metadata_size, "metadata");
}
Result<block::Device*> PoolFile::data() {
  return part(data_, description().data, data_at, description().data_size, "data");
}

Result<void> PoolFile::grow(std::unique_ptr<block::Device>& part, const std::string& device, uint64_t at,
                            uint64_t size) {
  if (size < part->size())
    return Error(err::invalid, "a pool does not shrink")
        .expected(fmt::format("at least {}", part->size()), size);
  if (device.empty() && file_->size() < at + size) TRY(file_->resize(at + size));
  return part->resize(size);
}

Result<void> PoolFile::grow_metadata(uint64_t size) {
  TRY(metadata());
  if (size > metadata_blocks_max * metadata_block_size)
    return Error(err::invalid, "more metadata than a pool can have")
        .expected(fmt::format("at most {}", metadata_blocks_max * metadata_block_size), size);
  TRY(grow(metadata_, description().metadata, metadata_at, size));
  PoolDescription grown = description();
  grown.metadata_size = size;
  return store_.save(std::move(grown));
}

Result<void> PoolFile::grow_data(uint64_t size) {
  TRY(data());
  TRY(grow(data_, description().data, data_at, size));
  PoolDescription grown = description();
  grown.data_size = size;
  return store_.save(std::move(grown));
}

}  // namespace karst::thin

#include "thin/home/pool_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "block/open.h"
#include "core/checksum.h"
#include "thin/format/errors.h"
#include "thin/format/space_map.h"

namespace karst::thin {
namespace {

constexpr std::array<char, 16> file_magic = {'k', 'a', 'r', 's', 't', ' ', 't', 'h',
                                             'i', 'n', ' ', 'p', 'o', 'o', 'l', '\n'};
constexpr uint32_t file_version = 1;
constexpr uint64_t json_at = 4096;

struct CopyHeader {
  std::array<char, 16> magic;
  le32 version;
  le32 csum;  // crc32c of the header, with this as 0, and the JSON
  le64 generation;
  le64 length;  // of the JSON
};
static_assert(sizeof(CopyHeader) == 40 && alignof(CopyHeader) == 1);
static_assert(PoolFile::metadata_at + metadata_blocks_max * metadata_block_size <= PoolFile::data_at);

uint32_t checksum_of(CopyHeader header, Bytes json) {
  header.csum = 0;
  return ~crc32c(crc32c(~0u, bytes_of(header)), json);
}

struct Copy {
  uint64_t generation = 0;
  PoolDescription description;
};

Result<Copy> read_copy(block::Device& file, uint64_t at) {
  if (file.size() < at + json_at) return Error(err::corrupt, "not a pool's file: it is too short");
  std::vector<std::byte> head(json_at);
  TRY(file.read(at, head));
  const CopyHeader header = *overlay<CopyHeader>(head);
  if (header.magic != file_magic) return Error(err::corrupt, "not a pool's file");
  if (header.version != file_version)
    return Error(err::unsupported, "a pool's file of another version")
        .expected(file_version, header.version.value());
  if (header.length > PoolFile::copy_size - json_at || header.length > file.size() - at - json_at)
    return Error(err::corrupt, "the description's length is impossible");
  std::vector<std::byte> json(header.length);
  TRY(file.read(at + json_at, json));
  if (header.csum != checksum_of(header, json))
    return Error(err::checksum, "a description's checksum is wrong");
  const auto parsed = nlohmann::ordered_json::parse(as_text(json), nullptr, false);
  if (parsed.is_discarded()) return Error(err::corrupt, "the description is no JSON");
  return Copy{header.generation, TRY(description_from_json(parsed))};
}

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
  std::unique_ptr<PoolFile> made(new PoolFile(path, std::move(file), block::OpenMode::read_write, false));
  TRY(made->write_copy(description, 1));
  made->description_ = std::move(description);
  made->generation_ = 1;
  return made;
}

Result<std::unique_ptr<PoolFile>> PoolFile::open(const std::string& path, block::OpenMode mode, bool shared) {
  auto file = TRY(block::FileDevice::open(path, mode, file_options(shared)));
  std::unique_ptr<PoolFile> opened(new PoolFile(path, std::move(file), mode, shared));
  TRY(opened->load());
  return opened;
}

Result<bool> PoolFile::is_one(const std::string& path) {
  auto file = TRY(block::FileDevice::open(path, block::OpenMode::read_only));
  if (file->size() < sizeof(CopyHeader)) return false;
  std::array<std::byte, sizeof(CopyHeader)> head;
  TRY(file->read(0, head));
  return overlay<CopyHeader>(head)->magic == file_magic;
}

// The newer of the copies that are whole.
Result<void> PoolFile::load() {
  auto first = read_copy(*file_, 0), second = read_copy(*file_, copy_size);
  if (!first && !second) return std::move(first).error().at("file", path_);
  const bool use_second = !first || (second && second->generation > first->generation);
  Copy& newer = use_second ? *second : *first;
  description_ = std::move(newer.description);
  generation_ = newer.generation;
  return {};
}

Result<void> PoolFile::write_copy(const PoolDescription& description, uint64_t generation) {
  const std::string json = to_json(description).dump(1);
  if (json.size() > copy_size - json_at)
    return Error::make(err::limit, "the pool has more volumes than its file can describe ({} bytes of {})",
                       json.size(), copy_size - json_at);
  CopyHeader header{file_magic, file_version, 0, generation, json.size()};
  header.csum = checksum_of(header, as_bytes(json));
  std::vector<std::byte> bytes((json_at + json.size() + 511) / 512 * 512);
  std::ranges::copy(bytes_of(header), bytes.begin());
  std::ranges::copy(as_bytes(json), bytes.begin() + json_at);
  TRY(file_->write((generation + 1) % 2 * copy_size, bytes));
  return file_->flush();
}

Result<void> PoolFile::save(PoolDescription description) {
  if (description == description_) return {};
  TRY(write_copy(description, generation_ + 1));
  ++generation_;
  description_ = std::move(description);
  return {};
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
  return part(metadata_, description_.metadata, metadata_at, description_.metadata_size, "metadata");
}
Result<block::Device*> PoolFile::data() {
  return part(data_, description_.data, data_at, description_.data_size, "data");
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
  TRY(grow(metadata_, description_.metadata, metadata_at, size));
  PoolDescription grown = description_;
  grown.metadata_size = size;
  return save(std::move(grown));
}

Result<void> PoolFile::grow_data(uint64_t size) {
  TRY(data());
  TRY(grow(data_, description_.data, data_at, size));
  PoolDescription grown = description_;
  grown.data_size = size;
  return save(std::move(grown));
}

}  // namespace karst::thin

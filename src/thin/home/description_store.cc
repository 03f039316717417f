#include "thin/home/description_store.h"

#include <array>
#include <nlohmann/json.hpp>

#include "core/checksum.h"
#include "core/endian.h"
#include "thin/format/errors.h"

namespace karst::thin {
namespace {

constexpr std::array<char, 16> file_magic = {'k', 'a', 'r', 's', 't', ' ', 't', 'h',
                                             'i', 'n', ' ', 'p', 'o', 'o', 'l', '\n'};
constexpr uint32_t file_version = 2;
constexpr uint64_t json_at = 4096;
constexpr uint64_t json_max = DescriptionStore::copy_size - json_at;
// Kept for changes of the volumes that there are, so that a pool that has no room for more can lose some.
constexpr uint64_t json_reserve = 4 << 20;

struct CopyHeader {
  std::array<char, 16> magic;
  le32 version;
  le32 csum;  // crc32c of the header, with this as 0, and the JSON
  le64 generation;
  le64 epoch;
  le64 length;  // of the JSON
};
static_assert(sizeof(CopyHeader) == 48 && alignof(CopyHeader) == 1);
uint32_t checksum_of(CopyHeader header, Bytes json) {
  header.csum = 0;
  return ~crc32c(crc32c(~0u, bytes_of(header)), json);
}

struct Copy {
  uint64_t generation = 0, epoch = 0;
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
  if (header.length > json_max || header.length > file.size() - at - json_at)
    return Error(err::corrupt, "the description's length is impossible");
  std::vector<std::byte> json(header.length);
  TRY(file.read(at + json_at, json));
  if (header.csum != checksum_of(header, json))
    return Error(err::checksum, "a description's checksum is wrong");
  const auto parsed = nlohmann::ordered_json::parse(as_text(json), nullptr, false);
  if (parsed.is_discarded()) return Error(err::corrupt, "the description is no JSON");
  return Copy{header.generation, header.epoch, TRY(description_from_json(parsed))};
}

// Copies take turns.
uint64_t copy_at(uint64_t generation) { return (generation + 1) % 2 * DescriptionStore::copy_size; }

bool is_damage(const Error& error) { return error.is(err::corrupt) || error.is(err::checksum); }

uint64_t entry_bytes(const VolumeEntry& volume) { return to_json(volume).dump().size() + 1; }

Result<void> write_copy(block::Device& device, const std::string& json, uint64_t generation, uint64_t epoch) {
  CopyHeader header{file_magic, file_version, 0, generation, epoch, json.size()};
  header.csum = checksum_of(header, as_bytes(json));
  std::vector<std::byte> bytes((json_at + json.size() + 511) / 512 * 512);
  std::ranges::copy(bytes_of(header), bytes.begin());
  std::ranges::copy(as_bytes(json), bytes.begin() + json_at);
  TRY(device.write(copy_at(generation), bytes));
  return device.flush();
}

}  // namespace

// The newer of the copies that are whole.
Result<DescriptionStore> DescriptionStore::open(block::Device& device) {
  auto first = read_copy(device, 0), second = read_copy(device, copy_size);
  for (const auto* copy : {&first, &second})
    if (!*copy && !is_damage(copy->error())) return copy->error().clone();
  if (!first && !second) return std::move(first).error();
  const bool use_second = !first || (second && second->generation > first->generation);
  Copy& newer = use_second ? *second : *first;
  DescriptionStore opened(device);
  opened.found_damage_ = !first || !second;
  opened.description_ = std::move(newer.description);
  opened.generation_ = newer.generation;
  opened.epoch_ = newer.epoch;
  opened.begin_journal();
  TRY(opened.journal_->replay(opened.description_.volumes));
  opened.json_bytes_ = to_json(opened.description_).dump().size();
  if (!first || !second || first->epoch != second->epoch) opened.journal_.reset();
  return opened;
}

Result<DescriptionStore> DescriptionStore::create(block::Device& device, PoolDescription description) {
  DescriptionStore made(device);
  made.description_ = std::move(description);
  // Newer than what an earlier pool has left here.
  for (const uint64_t at : {uint64_t{0}, copy_size})
    if (const auto left = read_copy(device, at))
      made.generation_ = std::max(made.generation_, left->generation);
  TRY(made.write_next());
  return made;
}

Result<bool> DescriptionStore::is_one(block::Device& device) {
  std::array<std::byte, sizeof(CopyHeader)> head;
  if (device.size() < head.size()) return false;
  TRY(device.read(0, head));
  return overlay<CopyHeader>(head)->magic == file_magic;
}

void DescriptionStore::begin_journal() { journal_.emplace(*device_, journal_at, size - journal_at, epoch_); }

Result<void> DescriptionStore::save(PoolDescription description) {
  if (description == description_) return {};
  std::swap(description, description_);
  auto written = write_next();
  if (!written) std::swap(description, description_);
  return written;
}

// The description as it is, whole: into the older copy, and then, against damage, into the other one too.
Result<void> DescriptionStore::write_next() {
  // Should this fail, it may have been done nevertheless: the journal goes on with what is certain.
  journal_.reset();
  const uint64_t epoch = random_number();
  const std::string json = to_json(description_).dump();
  if (json.size() > json_max)
    return Error::make(err::limit, "the pool has more volumes than its file can describe ({} bytes of {})",
                       json.size(), json_max);
  TRY(write_copy(*device_, json, generation_ + 1, epoch));
  ++generation_;
  epoch_ = epoch;
  json_bytes_ = json.size();
  if (!write_copy(*device_, json, generation_ + 1, epoch)) return {};
  ++generation_;
  found_damage_ = false;
  begin_journal();
  return {};
}

// A change that has been made to the description.
Result<void> DescriptionStore::note(FunctionRef<Result<void>(VolumeJournal& journal)> note) {
  if (journal_) {
    auto noted = note(*journal_);
    if (noted) return {};
    if (!noted.error().is(err::limit)) {
      journal_.reset();
      return noted;
    }
  }
  return write_next();
}

Result<void> DescriptionStore::put(VolumeEntry volume, Durable durable) {
  VolumeTable& volumes = description_.volumes;
  TRY(check_volume(volume));
  const DeviceId id = volume.id;
  std::optional<VolumeEntry> before;
  if (const VolumeEntry* known = volumes.at(id)) before = *known;
  const uint64_t bytes = entry_bytes(volume), bytes_before = before ? entry_bytes(*before) : 0;
  if (!before && json_bytes_ + bytes > json_max - json_reserve)
    return Error(err::limit, "the pool's file has no room for more volumes").at("device", device_->name());
  if (!volumes.put(std::move(volume)))
    return Error(err::exists, "another volume of the pool has this name").at("device", device_->name());
  auto noted = note([&](VolumeJournal& journal) { return journal.note_put(*volumes.at(id), durable); });
  if (noted) {
    json_bytes_ += bytes - bytes_before;
    return {};
  }
  if (before)
    volumes.put(*std::move(before));
  else
    volumes.remove(id);
  return noted;
}

Result<void> DescriptionStore::remove(DeviceId id, Durable durable) {
  VolumeTable& volumes = description_.volumes;
  const VolumeEntry* known = volumes.at(id);
  if (known == nullptr) return {};
  VolumeEntry before = *known;
  volumes.remove(id);
  auto noted = note([&](VolumeJournal& journal) { return journal.note_removed(id, durable); });
  if (noted)
    json_bytes_ -= std::min(json_bytes_, entry_bytes(before));
  else
    volumes.put(std::move(before));
  return noted;
}

}  // namespace karst::thin

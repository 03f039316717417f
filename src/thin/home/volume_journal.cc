#include "thin/home/volume_journal.h"

#include <array>
#include <nlohmann/json.hpp>

#include "core/checksum.h"
#include "core/endian.h"
#include "core/uuid.h"
#include "thin/format/errors.h"
#include "thin/home/description.h"

namespace karst::thin {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<char, 8> record_magic = {'k', 'a', 'r', 's', 't', 'v', 'o', 'l'};
constexpr uint64_t record_max = 64 << 10;  // names and paths have limits
constexpr uint64_t read_ahead = 1 << 20;

struct RecordHeader {
  std::array<char, 8> magic;
  le32 csum;    // crc32c of that of the record before, the header with this as 0, and the JSON
  le32 length;  // of the JSON
  le64 epoch;
  le64 number;
  le64 writer;
};
static_assert(sizeof(RecordHeader) == 40 && alignof(RecordHeader) == 1);

uint32_t checksum_of(uint32_t before, RecordHeader header, Bytes json) {
  header.csum = 0;
  return ~crc32c(crc32c(~before, bytes_of(header)), json);
}

uint64_t record_size(uint64_t length) {
  return (sizeof(RecordHeader) + length + sector_size - 1) / sector_size * sector_size;
}

Result<void> apply_change(const Json& change, VolumeTable& volumes) {
  if (const auto removed = change.find("remove"); removed != change.end()) {
    volumes.remove(removed->get<DeviceId>());
    return {};
  }
  return put_volume(change.at("put"), volumes);
}

}  // namespace

uint64_t random_number() {
  const Uuid random = Uuid::random();
  le64 number;
  std::memcpy(&number, random.bytes.data(), sizeof number);
  return number;
}

VolumeJournal::VolumeJournal(block::Device& file, uint64_t at, uint64_t size, uint64_t epoch)
    : file_(&file), at_(at), size_(size), epoch_(epoch), writer_(random_number()) {}

Result<void> VolumeJournal::replay(VolumeTable& volumes) {
  std::vector<std::byte> buffer;
  uint64_t begin = 0;  // of the buffer, in the journal
  for (;;) {
    if (end_ + sector_size > size_) return {};
    if (end_ - begin + record_max > buffer.size()) {
      begin = end_;
      buffer.resize(std::min(size_ - begin, read_ahead));
      TRY(file_->read(at_ + begin, buffer));
    }
    const Bytes rest = Bytes(buffer).subspan(end_ - begin);
    const RecordHeader& header = *overlay<RecordHeader>(rest);
    const auto json = slice(rest, sizeof header, header.length);
    if (header.magic != record_magic || header.epoch != epoch_ || header.number != number_ || !json ||
        header.csum != checksum_of(before_, header, *json))
      return {};
    try {
      TRY(apply_change(Json::parse(as_text(*json)), volumes));
    } catch (const Json::exception& exception) {
      return Error::make(err::corrupt, "the journal of volumes is not as it should be: {}", exception.what())
          .at("record", number_);
    }
    end_ += record_size(header.length);
    ++number_;
    before_ = header.csum;
  }
}

Result<void> VolumeJournal::append(const std::string& json, Durable durable) {
  const uint64_t size = record_size(json.size());
  if (size > record_max || size > size_ - end_) return Error(err::limit, "the journal of volumes is full");
  RecordHeader header{record_magic, 0, static_cast<uint32_t>(json.size()), epoch_, number_, writer_};
  header.csum = checksum_of(before_, header, as_bytes(json));
  std::vector<std::byte> record(size);
  std::ranges::copy(bytes_of(header), record.begin());
  std::ranges::copy(as_bytes(json), record.begin() + sizeof header);
  auto written = file_->write(at_ + end_, record);
  if (written && durable == Durable::now) written = file_->flush();
  if (!written) {
    // It was refused: it should not be found by whoever opens the pool next.
    static_cast<void>(file_->write_zeroes(at_ + end_, sector_size));
    return written;
  }
  end_ += size;
  ++number_;
  before_ = header.csum;
  return {};
}

Result<void> VolumeJournal::note_put(const VolumeEntry& volume, Durable durable) {
  return append(Json{{"put", to_json(volume)}}.dump(), durable);
}

Result<void> VolumeJournal::note_removed(DeviceId id, Durable durable) {
  return append(Json{{"remove", id}}.dump(), durable);
}

}  // namespace karst::thin

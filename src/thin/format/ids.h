// The numbers of a thin pool that must not be mixed.
#pragma once
#include <fmt/format.h>

#include <compare>
#include <cstdint>
#include <utility>

namespace karst::thin {

enum class MetadataBlock : uint64_t {};  // 4096 bytes of the metadata device; 0 is the superblock
enum class DataBlock : uint64_t {};      // data_block_size sectors of the data device
enum class VirtualBlock : uint64_t {};   // the same, of a volume

constexpr uint64_t raw(MetadataBlock block) { return std::to_underlying(block); }
constexpr uint64_t raw(DataBlock block) { return std::to_underlying(block); }
constexpr uint64_t raw(VirtualBlock block) { return std::to_underlying(block); }

// A thin device's number: 24 bits. Source: Linux drivers/md/dm-thin-metadata.h, MAX_DEV_ID.
using DeviceId = uint32_t;
constexpr DeviceId max_device_id = (1u << 24) - 1;

constexpr uint32_t sector_size = 512;
constexpr uint32_t metadata_block_size = 4096;                                  // bytes
constexpr uint32_t metadata_block_sectors = metadata_block_size / sector_size;  // 8
// A data block is a multiple of 64 KiB, at most 1 GiB. Source: Linux drivers/md/dm-thin.c,
// DATA_DEV_BLOCK_SIZE_MIN_SECTORS and …_MAX_SECTORS.
constexpr uint32_t data_block_sectors_min = 128;
constexpr uint32_t data_block_sectors_max = 2097152;
constexpr bool is_data_block_size(uint64_t sectors) {
  return sectors >= data_block_sectors_min && sectors <= data_block_sectors_max &&
         sectors % data_block_sectors_min == 0;
}

}  // namespace karst::thin

template <>
struct fmt::formatter<karst::thin::MetadataBlock> : fmt::formatter<uint64_t> {
  auto format(karst::thin::MetadataBlock block, auto& context) const {
    return fmt::formatter<uint64_t>::format(karst::thin::raw(block), context);
  }
};
template <>
struct fmt::formatter<karst::thin::DataBlock> : fmt::formatter<uint64_t> {
  auto format(karst::thin::DataBlock block, auto& context) const {
    return fmt::formatter<uint64_t>::format(karst::thin::raw(block), context);
  }
};
template <>
struct fmt::formatter<karst::thin::VirtualBlock> : fmt::formatter<uint64_t> {
  auto format(karst::thin::VirtualBlock block, auto& context) const {
    return fmt::formatter<uint64_t>::format(karst::thin::raw(block), context);
  }
};

// How the mappings of two devices differ.
#pragma once
#include "core/function_ref.h"
#include "thin/tool/metadata_reader.h"
#include "thin/tool/text_out.h"

namespace karst::thin {

enum class DeltaKind : uint8_t { left_only, right_only, different, same };
const char* name_of(DeltaKind kind);

// Blocks of the devices, and where each has them.
struct DeltaRun {
  DeltaKind kind{};
  VirtualBlock begin{};
  uint64_t length = 0;
  DataBlock left{}, right{};  // of the devices that have it
};

using EachDelta = FunctionRef<Result<void>(const DeltaRun&)>;
// In the order of blocks, as long as both devices' data blocks follow each other.
Result<void> compare_devices(MetadataReader& metadata, const MetadataReader::Device& left,
                             const MetadataReader::Device& right, EachDelta each);

// Writes it as thin_delta does: with data blocks, or joined to ranges of one kind.
Result<void> write_delta_xml(MetadataReader& metadata, DeviceId left, DeviceId right, bool verbose,
                             TextOut& out);

}  // namespace karst::thin

#include "btrfs/tool/restore/block_scan.h"

#include <algorithm>

#include "btrfs/format/check.h"

namespace karst::btrfs {
namespace {

constexpr uint64_t window = 1 << 20;

// Whether a block of this file system begins here, whatever its address.
bool is_block(Bytes bytes, const Geometry& geometry) {
  const TreeBlock block(bytes);
  return geometry.is_own_fsid(block.header().fsid) && block.level() < max_level &&
         check_block_checksum(bytes, geometry).has_value();
}

// Reads all at once, or sector by sector what can be read, with zeroes for the rest; false if that is
// nothing.
bool read_what_can_be(MutableBytes bytes, uint64_t sectorsize,
                      FunctionRef<Result<void>(uint64_t at, MutableBytes part)> read) {
  if (read(0, bytes)) return true;
  bool any = false;
  for (uint64_t at = 0; at < bytes.size(); at += sectorsize) {
    MutableBytes sector = bytes.subspan(at, std::min<uint64_t>(sectorsize, bytes.size() - at));
    if (read(at, sector))
      any = true;
    else
      std::fill(sector.begin(), sector.end(), std::byte{});
  }
  return any;
}

// One window of a chunk: the blocks of all copies, each address once.
class ChunkWindow {
 public:
  explicit ChunkWindow(const Geometry& geometry) : geometry_(geometry) {}

  Result<void> scan(const Volume& volume, const ChunkEntry& chunk, uint64_t from, uint64_t length,
                    BlockVisitor visit) {
    bytes_.resize(length);
    seen_.clear();
    // Copies beyond the second of parity profiles are guesses at what else is wrong.
    const int copies = chunk.is_parity() ? 2 : chunk.copies();
    for (int copy = 0; copy < copies; ++copy) {
      const bool any = read_what_can_be(bytes_, geometry_.sectorsize, [&](uint64_t at, MutableBytes part) {
        return volume.read_copy(Logical(from + at), part, copy);
      });
      if (!any) continue;
      TRY(visit_blocks(bytes_, length, geometry_, [&](const TreeBlock& block) -> Result<void> {
        const uint64_t address = from + static_cast<uint64_t>(block.bytes().data() - bytes_.data());
        if (block.bytenr() != address || std::find(seen_.begin(), seen_.end(), address) != seen_.end())
          return {};
        seen_.push_back(address);
        return visit(block);
      }));
      if (seen_.size() == length / geometry_.nodesize) break;
    }
    return {};
  }

 private:
  const Geometry& geometry_;
  std::vector<std::byte> bytes_;
  std::vector<uint64_t> seen_;  // few
};

}  // namespace

Result<void> visit_blocks(Bytes bytes, uint64_t starts, const Geometry& geometry, BlockVisitor visit) {
  for (uint64_t at = 0; at < starts && bytes.size() - at >= geometry.nodesize;) {
    Bytes candidate = bytes.subspan(at, geometry.nodesize);
    if (!is_block(candidate, geometry)) {
      at += geometry.sectorsize;
      continue;
    }
    TRY(visit(TreeBlock(candidate)));
    at += geometry.nodesize;
  }
  return {};
}

Result<void> scan_chunks(const Volume& volume, uint64_t block_group_types, const BlockScanOptions& options,
                         BlockVisitor visit) {
  for (const ChunkEntry& chunk : volume.chunks().all())
    if (chunk.type & block_group_types)
      options.progress.add_totals(volume.reachable_length(Logical(chunk.logical), chunk.length), 0);
  ChunkWindow scanner(volume.geometry());
  for (const ChunkEntry& chunk : volume.chunks().all()) {
    if (!(chunk.type & block_group_types)) continue;
    const uint64_t length = volume.reachable_length(Logical(chunk.logical), chunk.length);
    for (uint64_t at = 0; at < length; at += window) {
      TRY(options.cancel.check());
      const uint64_t some = std::min(window, length - at);
      volume.will_read(Logical(chunk.logical + at + some), std::min(window, length - at - some));
      // A block may lie across two windows: then it is found from the one it begins in.
      const uint64_t reach = std::min<uint64_t>(some + volume.geometry().nodesize, length - at);
      TRY(scanner.scan(volume, chunk, chunk.logical + at, reach, [&](const TreeBlock& block) -> Result<void> {
        if (block.bytenr() - (chunk.logical + at) >= some) return {};
        return visit(block);
      }));
      options.progress.add(some, 0);
    }
  }
  return {};
}

Result<void> scan_devices(const Volume& volume, const BlockScanOptions& options, BlockVisitor visit) {
  options.progress.add_totals(volume.device_bytes(), 0);
  const Geometry& geometry = volume.geometry();
  std::vector<std::byte> bytes;
  for (const MemberDevice& member : volume.members()) {
    block::Device& device = *member.device;
    for (uint64_t at = 0; at < device.size(); at += window) {
      TRY(options.cancel.check());
      const uint64_t some = std::min(window, device.size() - at);
      bytes.resize(std::min<uint64_t>(some + geometry.nodesize, device.size() - at));
      device.will_read(at + bytes.size(), std::min<uint64_t>(window, device.size() - at - bytes.size()));
      const bool any = read_what_can_be(bytes, geometry.sectorsize, [&](uint64_t from, MutableBytes part) {
        return device.read(at + from, part);
      });
      if (any) TRY(visit_blocks(bytes, some, geometry, visit));
      options.progress.add(some, 0);
    }
  }
  return {};
}

}  // namespace karst::btrfs

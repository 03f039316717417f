#include "btrfs/tool/build/extent_placer.h"

namespace karst::btrfs::build {

Result<void> ExtentPlacer::flush() {
  if (!pending_.pieces.empty()) TRY(writer_.write_data(pending_.address, pending_.pieces));
  pending_.pieces.clear();
  return {};
}

// Adjacent pieces of the batch that lie side by side in the image too are one write.
Result<void> ExtentPlacer::write(const EncodedBatch& batch, uint32_t at, uint32_t bytes, uint64_t address,
                                 bool checksums) {
  if (pending_.pieces.empty() || pending_.end != address) {
    TRY(flush());
    pending_.address = address;
  }
  Bytes piece(batch.data.get() + at, bytes);
  if (!pending_.pieces.empty() &&
      pending_.pieces.back().data() + pending_.pieces.back().size() == piece.data())
    pending_.pieces.back() = {pending_.pieces.back().data(), pending_.pieces.back().size() + bytes};
  else
    pending_.pieces.push_back(piece);
  pending_.end = address + bytes;
  if (!checksums) return {};
  const Geometry& geometry = writer_.geometry();
  return writer_.add_checksums(address,
                               Bytes(batch.checksums)
                                   .subspan(size_t{at} / geometry.sectorsize * geometry.checksum_size,
                                            size_t{bytes} / geometry.sectorsize * geometry.checksum_size));
}

Result<void> ExtentPlacer::place(const EncodedBatch& batch, Each each) {
  const uint32_t sector = writer_.geometry().sectorsize;
  for (size_t i = 0; i < batch.extents.size(); ++i) {
    const EncodedExtent& extent = batch.extents[i];
    if (extent.compression != Compression::none) writer_.note_compression(extent.compression);
    if (shares()) {
      if (auto known = known_.find(batch.digests[i]); known != known_.end()) {
        bytes_shared_ += extent.disk_bytes;
        TRY(each(extent.file, {extent.file_offset, extent.num_bytes, known->second, extent.disk_bytes,
                               extent.compression}));
        continue;
      }
    }
    const bool whole = extent.compression != Compression::none || shares();
    for (uint32_t done = 0; done < extent.disk_bytes;) {
      const uint32_t rest = extent.disk_bytes - done;
      const DataSpace::Run run = TRY(writer_.allocate_data(rest, whole ? rest : sector));
      const auto length = static_cast<uint32_t>(run.length);
      TRY(write(batch, extent.at + done, length, run.address, extent.checksums));
      const uint64_t num_bytes = whole ? extent.num_bytes : length;
      TRY(each(extent.file, {extent.file_offset + done, num_bytes, run.address, length, extent.compression}));
      if (shares() && known_.size() < share_limit_) known_.emplace(batch.digests[i], run.address);
      done += length;
    }
  }
  return flush();
}

}  // namespace karst::btrfs::build

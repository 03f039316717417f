#include "btrfs/volume/chunk_writer.h"

#include "btrfs/volume/parity.h"
#include "btrfs/volume/volume.h"
#include "core/assert.h"

namespace karst::btrfs {

Result<block::Device*> ChunkWriter::device_of(const ChunkStripe& stripe) const {
  auto found = devices_.find(stripe.devid);
  if (found == devices_.end())
    return Error(err::device_missing, "member device is missing").at("devid", stripe.devid);
  return found->second;
}

Result<void> ChunkWriter::write(const ChunkEntry& chunk, uint64_t address, std::span<const Bytes> pieces) {
  for (Bytes piece : pieces) {
    if (piece.empty()) continue;
    VERIFY(chunk.contains(address) && piece.size() <= chunk.end() - address);
    TRY(chunk.is_parity() ? write_to_row(chunk, address, piece) : write_mirrors(chunk, address, piece));
    address += piece.size();
  }
  return {};
}

Result<void> ChunkWriter::write_mirrors(const ChunkEntry& chunk, uint64_t address, Bytes data) {
  for (int copy = 0; copy < chunk.copies(); ++copy) {
    for (uint64_t done = 0; done < data.size();) {
      StripeRun run = map_run(chunk, address + done, data.size() - done, copy);
      block::Device* device = TRY(device_of(chunk.stripes[run.stripe]));
      TRY(device->write(run.offset, data.subspan(done, run.length)));
      done += run.length;
    }
  }
  return {};
}

Result<void> ChunkWriter::write_to_row(const ChunkEntry& chunk, uint64_t address, Bytes data) {
  const uint64_t row_bytes = uint64_t{chunk.data_stripes()} * stripe_length;
  auto [at, is_new] = rows_.try_emplace(chunk.logical, OpenRow{chunk, {}});
  Row& row = at->second.row;
  if (is_new) row.bytes.resize(chunk.stripes.size() * stripe_length);
  while (!data.empty()) {
    uint64_t offset = address - chunk.logical;
    if (uint64_t number = offset / row_bytes; number != row.number) {
      VERIFY(number > row.number);
      // Rows passed over hold nothing; they are zeroes with the parity of zeroes.
      for (; row.number < number; ++row.number) {
        TRY(write_row(chunk, row));
        std::fill(row.bytes.begin(), row.bytes.end(), std::byte{0});
      }
    }
    uint64_t within = offset % row_bytes;
    size_t length = std::min<uint64_t>(data.size(), row_bytes - within);
    std::memcpy(row.bytes.data() + within, data.data(), length);
    data = data.subspan(length);
    address += length;
  }
  return {};
}

Result<void> ChunkWriter::write_row(const ChunkEntry& chunk, Row& row) {
  const uint32_t data_stripes = chunk.data_stripes();
  std::vector<Bytes> data;
  auto block = [&](uint32_t k) {
    return MutableBytes(row.bytes).subspan(uint64_t{k} * stripe_length, stripe_length);
  };
  for (uint32_t k = 0; k < data_stripes; ++k) data.push_back(block(k));
  if (chunk.profile->parity == 1)
    compute_p(data, block(data_stripes));
  else
    compute_pq(data, block(data_stripes), block(data_stripes + 1));
  for (uint32_t k = 0; k < chunk.stripes.size(); ++k) {
    uint32_t stripe = row_stripe(chunk, row.number, k);
    block::Device* device = TRY(device_of(chunk.stripes[stripe]));
    TRY(device->write(row_offset(chunk, stripe, row.number), block(k)));
  }
  return {};
}

Result<void> ChunkWriter::finish() {
  for (auto& [logical, open] : rows_) TRY(write_row(open.chunk, open.row));
  rows_.clear();
  return {};
}

}  // namespace karst::btrfs

#include "thin/pool/status.h"

namespace karst::thin {
namespace {

const char* mode_word(PoolMode mode) {
  switch (mode) {
    case PoolMode::write: return "rw";
    case PoolMode::out_of_data_space: return "out_of_data_space";
    // Those who watch pools know no other word for it (TH-035).
    case PoolMode::out_of_metadata_space:
    case PoolMode::read_only: return "ro";
    case PoolMode::fail: return "Fail";
  }
  return "";
}

const char* discard_word(const Pool::Status& status) {
  if (!status.handle_discards) return "ignore_discard";
  return status.discard_passdown ? "discard_passdown" : "no_discard_passdown";
}

}  // namespace

std::string pool_status_line(const Pool::Status& status) {
  if (status.mode == PoolMode::fail) return "thin-pool Fail";
  const auto& space = status.space;
  return fmt::format("thin-pool {} {}/{} {}/{} {} {} {} {} {} {} ", status.transaction_id,
                     space.metadata_blocks - space.metadata_available, space.metadata_blocks,
                     space.data_blocks - space.data_available, space.data_blocks,
                     raw(status.held_root) != 0 ? fmt::format("{}", status.held_root) : "-",
                     mode_word(status.mode), discard_word(status),
                     status.error_if_no_space ? "error_if_no_space" : "queue_if_no_space",
                     status.needs_check ? "needs_check" : "-", status.metadata_low_water);
}

std::string volume_status_line(const Pool& pool, const Result<Pool::DeviceStatus>& status) {
  if (pool.mode() == PoolMode::fail) return "thin Fail";
  if (!status) return "thin Error";
  const uint64_t sectors = pool.block_size() / sector_size;
  const std::string highest =
      status->details.highest_mapped
          ? fmt::format("{}", (raw(*status->details.highest_mapped) + 1) * sectors - 1)
          : "-";
  return fmt::format("thin {} {}", status->details.mapped_blocks * sectors, highest);
}

}  // namespace karst::thin

// What a pool can do at present, and how it comes from one such mode to another (TH-030).
//
//   write ⇄ out_of_data_space      no free data block; growing or freeing leads back
//   write ⇄ out_of_metadata_space  a commit used the reserve; growing leads back. Called "ro" outside
//   (TH-035) any of them → read_only        by wish, or after a failure, which sets needs_check: then there
//   is no way back
//                                  but by a check
//   any → fail                     metadata that cannot be read back after a failure; no way back
#pragma once
#include <cstdint>
#include <string_view>

namespace karst::thin {

enum class PoolMode : uint8_t { write, out_of_data_space, out_of_metadata_space, read_only, fail };

// The mode that a wish leads to.
constexpr PoolMode next_mode(PoolMode from, PoolMode wish, bool needs_check) {
  if (from == PoolMode::fail) return PoolMode::fail;
  if (wish == PoolMode::write && needs_check) return from == PoolMode::write ? PoolMode::read_only : from;
  // A pool that is read-only does not come back by having room.
  if (from == PoolMode::read_only && wish != PoolMode::write && wish != PoolMode::fail) return from;
  if (from == PoolMode::out_of_metadata_space && wish == PoolMode::out_of_data_space) return from;
  return wish;
}

// Whether blocks can be mapped.
constexpr bool can_provision(PoolMode mode) {
  return mode == PoolMode::write || mode == PoolMode::out_of_data_space;
}
// Whether devices can be made and deleted, discards be handled, transactions be committed.
constexpr bool can_change(PoolMode mode) { return can_provision(mode); }

// As the kernel's log has them.
constexpr std::string_view describe(PoolMode mode, bool error_if_no_space) {
  switch (mode) {
    case PoolMode::write: return "write";
    case PoolMode::out_of_data_space:
      return error_if_no_space ? "out-of-data-space (error IO)" : "out-of-data-space (queue IO)";
    case PoolMode::out_of_metadata_space:
    case PoolMode::read_only: return "read-only";
    case PoolMode::fail: return "fail";
  }
  return "";
}

}  // namespace karst::thin

// A thin volume: a block device whose blocks are where the pool's metadata says.
//
// The way of a request, block by block; a pass (in_flight.h) is held from the lookup to the end of the I/O:
//   mapped, and not shared or only read   → the data device, in the thread that brought it, without a lock;
//   what is
//                                            contiguous goes in one request
//   not mapped, read                      → zeroes, or the external origin
//   else a write                          → under a cell: a block is reserved, composed of old and new bytes
//   and
//                                            written; then it is mapped
// The block is composed in one buffer and written once; written bytes need no copy if they cover it (TH-006,
// TH-007). FUA and flush commit the metadata if the volume has changes that are not durable (TH-016). Through
// a block::Queue, requests of the first kind run asynchronously on the data device's descriptor; nowait
// requests of other kinds are err::would_block (TH-053).
#pragma once
#include <memory>
#include <string>

#include "thin/pool/pool.h"

namespace karst::thin {

class Volume final : public block::Device {
 public:
  Volume(PoolRef pool, ThinDeviceRef device, uint64_t size, std::shared_ptr<block::Device> origin);
  ~Volume() override;
  RefCount& ref_count() { return count_; }

  DeviceId id() const { return device_->id(); }
  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_; }
  // Not smaller than what is written whole on the data device.
  uint32_t block_size() const override { return block_size_; }
  bool writable() const override { return true; }
  std::optional<block::DirectIo> begin_direct(const block::IoRequest& request) override;
  void end_direct(const block::DirectIo& io) override;

  Pool& pool() const { return *pool_; }
  const block::Device* origin() const { return origin_.get(); }

  // Ends what waits for space.
  void abandon() override;

  // Limits for who splits discards (TH-048), bytes; 0 if discards are not handled.
  uint64_t discard_granularity() const;
  uint64_t discard_max() const;

  // What is mapped, and what of the origin is seen through the rest.
  Result<void> extents(uint64_t offset, uint64_t length, block::ExtentListener each) override;

  // While it lives, requests that change anything wait; those under way have ended when it has been made
  // (TH-029). One at a time: the pool's lock for commands is held.
  class Standstill {
   public:
    explicit Standstill(Volume* volume) : volume_(volume) {  // nothing, for none
      if (volume_) volume_->freeze();
    }
    ~Standstill() {
      if (volume_) volume_->thaw();
    }
    Standstill(const Standstill&) = delete;
    Standstill& operator=(const Standstill&) = delete;

   private:
    Volume* const volume_;
  };

  // Lookup memory to be freed after a drain.
  MappingTable::Pages take_pages() { return table_.take_pages(); }

 protected:
  Result<void> perform(const block::IoRequest& request) override;
  block::Completion on_completion(const block::IoRequest& request, Result<void>& outcome) override;
  // A FUA write that found no space has lost nothing. What was lost below, the data device and the pool
  // remember.
  bool failure_loses_writes() const override { return false; }

 private:
  // A part of a request: bytes [offset, offset + length) of the volume, from `skip` on in the request's
  // buffers.
  struct Part {
    const block::IoRequest& request;
    uint64_t offset, length, skip;
  };
  using Entry = MappingTable::Entry;
  Result<Entry> find(VirtualBlock block);
  std::optional<Entry> find_now(VirtualBlock block) const;
  // Where a read or write within one block can be done without anything but the data device, and the pass it
  // needs.
  struct Place {
    InFlight::Pass pass;
    uint64_t offset = 0;
  };
  std::optional<Place> locate(const block::IoRequest& request);

  Result<void> serve_read(const block::IoRequest& request);
  Result<void> read_unmapped(const Part& part);
  Result<void> serve_write(const block::IoRequest& request);
  Result<void> write_slowly(const Part& part);
  Result<void> fill_block(const Part& part, const Entry& old, DataBlock target);
  Result<void> read_old(const Entry& old, VirtualBlock block, uint64_t at, MutableBytes into);
  Result<void> transfer(const Part& part, uint64_t data_offset, block::IoFlags flags);
  Result<void> serve_discard(const block::IoRequest& request);
  Result<void> unmap(uint64_t offset, uint64_t length);
  Result<void> discard_blocks(VirtualBlock from, VirtualBlock to);
  void pass_down(DataBlock begin, uint64_t count);
  Result<void> serve_write_zeroes(const block::IoRequest& request);
  Result<void> write_zero_bytes(uint64_t offset, uint64_t length);
  Result<void> serve_flush();

  void freeze();
  void thaw();
  bool is_frozen() const { return frozen_.load(); }
  void wait_until_thawed();
  // Whether what is written to the block goes to where it is.
  bool is_written_in_place(const Entry& entry) const {
    return entry.known == MappingTable::Known::mapped && !device_->is_shared(entry.mapping);
  }
  // Where a byte of the volume is on the data device.
  uint64_t data_offset(const Mapping& mapping, uint64_t offset) const {
    return raw(mapping.block) * block_bytes_ + offset % block_bytes_;
  }
  VirtualBlock block_at(uint64_t offset) const { return VirtualBlock{offset / block_bytes_}; }

  RefCount count_;
  const PoolRef pool_;
  const ThinDeviceRef device_;
  const std::string name_;
  const uint64_t size_, block_bytes_;
  const uint32_t block_size_;
  const std::shared_ptr<block::Device> origin_;
  MappingTable table_;

  std::atomic<bool> frozen_{false}, abandoned_{false};
  Mutex frozen_mutex_;
  CondVar thawed_;
};

}  // namespace karst::thin

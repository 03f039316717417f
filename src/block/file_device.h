// A regular file or a block device of the host.
#pragma once
#include <memory>
#include <string>

#include "block/device.h"
#include "core/cancel.h"

namespace karst::block {

enum class OpenMode : uint8_t { read_only, read_write };

// For all kinds of devices; what does not apply to one is passed over.
struct FileOptions {
  bool direct = false;      // bypass the host's page cache (O_DIRECT); unaligned reads are bounced
  bool exclusive = false;   // refuse (err::busy) if another process has it open exclusively; see below
  uint32_t block_size = 0;  // of a regular file; 0 means 512. A block device says its own.
  CancelToken cancel{};     // ends an opening that waits for others
};

// Exclusive means O_EXCL for a block device (the kernel refuses one that is mounted or claimed) and an open
// file description lock for a regular file: exclusive for read_write, shared for read_only.
//
// The size is that at open or resize(); a file that shrinks later gives err::io with the lengths expected and
// found.
class FileDevice final : public Device {
 public:
  static Result<std::unique_ptr<Device>> open(const std::string& path, OpenMode mode,
                                              FileOptions options = {});
  // Makes a regular file of that size (all holes), or sets the size of an existing one, and opens it
  // read-write. A block device keeps its size, which must suffice.
  static Result<std::unique_ptr<Device>> create(const std::string& path, uint64_t size,
                                                FileOptions options = {});
  ~FileDevice() override;

  const std::string& name() const override { return path_; }
  uint64_t size() const override { return size_.load(std::memory_order_acquire); }
  uint32_t block_size() const override { return block_size_; }
  bool writable() const override { return writable_; }
  Result<void> resize(uint64_t size) override;
  std::string identity() const override;
  std::optional<DirectIo> begin_direct(const IoRequest& request) override;
  Result<void> extents(uint64_t offset, uint64_t length, ExtentListener each) override;
  void will_read(uint64_t offset, uint64_t length) override;

 protected:
  Result<void> perform(const IoRequest& request) override;

 private:
  FileDevice(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  static Result<std::unique_ptr<FileDevice>> open_fd(const std::string& path, int flags, FileOptions options);
  Result<void> set_up(OpenMode mode, FileOptions options);
  bool aligned_for_direct(const IoRequest& request) const;
  Result<void> transfer(const IoRequest& request);
  Result<void> transfer_bounced(const IoRequest& request);
  Result<void> write_zeroes_range(const IoRequest& request);
  Result<void> write_zero_bytes(const IoRequest& request);
  Result<void> discard_range(const IoRequest& request);
  Result<void> sync(const IoRequest& request);

  // Constant after open.
  std::string path_;
  int fd_;
  std::atomic<uint64_t> size_{0};  // changed by resize() only
  uint32_t block_size_ = 512;
  bool writable_ = false;
  bool is_block_device_ = false;
  uint32_t direct_alignment_ = 0;  // 0: through the page cache
};

}  // namespace karst::block

// What an NBD server exports, as a device; through libnbd.
//
// A connection belongs to one thread at a time. There is one, and up to four when the server says that its
// connections see each other's flushes (multi-conn). A request is cut into pieces that the server takes,
// which are under way together. Reads may be of any size: what the server's block size asks for is read
// around them.
//
// When a connection is lost all requests fail from then on: its writes may be lost, too, and another
// connection's flush would not tell. NBD knows no locks, so `exclusive` means nothing here; and nothing of
// NBD's can be had at once, so every nowait request is err::would_block.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "block/device.h"
#include "block/file_device.h"
#include "core/mutex.h"
#include "core/unique_fd.h"

struct nbd_handle;

namespace karst::block {

inline constexpr LockClass nbd_lock{"block.nbd"};

// The URI of an export of a server that listens at a unix socket.
std::string nbd_unix_uri(std::string_view socket, std::string_view export_name);

class NbdDevice final : public Device {
 public:
  // By its URI: nbd://host/export, nbds:// with TLS, nbd+unix:///export?socket=PATH, nbds+unix://
  // (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md). err::read_only if it is to be written
  // to and the server does not allow that.
  static Result<std::unique_ptr<Device>> connect(const std::string& uri, OpenMode mode,
                                                 CancelToken cancel = {});
  // Of a server that is started for this device and ends with it, the socket passed to it as systemd does.
  static Result<std::unique_ptr<Device>> serve(std::vector<std::string> command, std::string name,
                                               OpenMode mode, CancelToken cancel = {});
  ~NbdDevice() override;

  const std::string& name() const override { return name_; }
  uint64_t size() const override { return size_.load(std::memory_order_acquire); }
  uint32_t block_size() const override { return block_size_; }
  bool writable() const override { return writable_; }
  // The server decides; how large the export has become is seen by a new connection.
  Result<void> resize(uint64_t size) override;
  // What the server knows of base:allocation.
  Result<void> extents(uint64_t offset, uint64_t length, ExtentListener each) override;
  // Ends the connections.
  void abandon() override;

 protected:
  Result<void> perform(const IoRequest& request) override;

 private:
  struct Close {
    void operator()(nbd_handle* handle) const;
  };
  struct Connection {
    std::unique_ptr<nbd_handle, Close> handle;
    // The socket, by a number of ours: libnbd closes its own when the connection is lost.
    UniqueFd socket{};

    explicit operator bool() const { return handle != nullptr; }
    nbd_handle* get() const { return handle.get(); }
  };
  class Lease;

  NbdDevice(std::string name, std::vector<std::string> command, OpenMode mode, CancelToken cancel);
  static Result<std::unique_ptr<Device>> open(std::string name, std::vector<std::string> command,
                                              OpenMode mode, CancelToken cancel);
  Result<Connection> connect_once() const;
  Result<void> learn(nbd_handle* handle);
  Result<Connection> take();
  Result<Connection> lend(Connection connection);
  void give_back(Connection connection);
  uint32_t command_flags(const IoRequest& request) const;
  Result<void> transfer(nbd_handle* handle, const IoRequest& request);
  Result<void> read_around(nbd_handle* handle, const IoRequest& request);
  Result<void> move_pieces(nbd_handle* handle, const IoRequest& request, std::span<const iovec> buffers);
  Result<void> clear(nbd_handle* handle, const IoRequest& request);
  Result<void> resize_locked(uint64_t size) REQUIRES(mutex_);
  Error failed(const char* operation) const;
  Error connection_lost() const;

  // Constant after open.
  const std::string name_;                  // a URI, if there is no command
  const std::vector<std::string> command_;  // of the server to start
  bool writable_;
  uint32_t block_size_ = 512, read_alignment_ = 1;
  uint64_t piece_max_ = 0;
  unsigned connections_max_ = 1;
  bool can_flush_ = false, can_fua_ = false, can_trim_ = false, can_zero_ = false, knows_extents_ = false;

  std::atomic<uint64_t> size_{0};  // changed by resize() only
  // By abandon(); and from without, whoever opened it.
  const CancelSource abandoned_;

  Mutex mutex_{nbd_lock};
  CondVar changed_;
  std::vector<Connection> idle_ GUARDED_BY(mutex_);
  std::vector<int> in_use_ GUARDED_BY(mutex_);   // the sockets of those that threads have
  unsigned connections_ GUARDED_BY(mutex_) = 0;  // idle and in use
  bool resizing_ GUARDED_BY(mutex_) = false;
  bool lost_ GUARDED_BY(mutex_) = false;  // for good
};

}  // namespace karst::block

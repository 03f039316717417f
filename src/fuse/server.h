// A mount: the kernel's FUSE client on one side, an Image on the other.
//
//   create()  mounts. Nothing is served yet, no thread is started: the kernel holds callers until run().
//   run()     serves with several threads until the file system is unmounted, or stop(), or a signal that it
//             was told to heed; then unmounts (lazily: files that are still open fail from then on).
//   ~Server   unmounts, if run() was not called.
//
// So a daemon may fork between the two, if the image was opened without starting threads; Background
// (background.h) instead forks first and tells the parent when the mount is there.
#pragma once
#include <signal.h>

#include <atomic>
#include <memory>
#include <string>

#include "fuse/handlers.h"
#include "fuse/mount_options.h"

namespace karst::fuse {

namespace err {
extern const ErrorKind not_mounted;  // mounting failed; EIO, or the errno is that of what was refused
}

// Keeps SIGTERM, SIGINT and SIGHUP back in this thread while it lives. Made before Server::create(), it
// leaves no moment at which one of them would end the process and leave the mount without a server: run()
// takes it.
class HeldSignals {
 public:
  HeldSignals();
  ~HeldSignals();
  HeldSignals(const HeldSignals&) = delete;
  HeldSignals& operator=(const HeldSignals&) = delete;

 private:
  sigset_t before_;
};

class Server {
 public:
  // The mountpoint must be a directory. `source` is what /proc/mounts shows as the device, unless the options
  // name another. Image and logger outlive the server; put a rate limit behind the logger.
  static Result<std::unique_ptr<Server>> create(btrfs::Image& image, const std::string& mountpoint,
                                                const std::string& source, const MountOptions& options,
                                                const Logger& log);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  enum class Signals : uint8_t {
    ignored,  // the caller's business
    heeded,   // SIGTERM, SIGINT and SIGHUP end run(), also if held; they are blocked in all threads meanwhile
  };
  // Once. Takes SIGRTMIN+3 for itself, for as long as the process lives. Call it from a thread that no other
  // part of the program signals or unblocks signals in.
  Result<void> run(Signals signals);

  // Ends run(), or lets it end as soon as it is called. From any thread or signal handler.
  void stop() const;

  // Taken from the kernel so far.
  uint64_t requests() const { return requests_.load(std::memory_order_relaxed); }
  const std::string& mountpoint() const { return mountpoint_; }  // absolute

 private:
  Server(btrfs::Image& image, const Logger& log, struct statvfs space, const MountOptions& options);
  Result<void> mount(const std::string& source, const MountOptions& options);
  void unmount();
  void serve();
  void wait(int signal_fd) const;

  const Logger log_;
  Served served_;
  HandlerContext context_;
  std::string mountpoint_;
  unsigned threads_;
  int stop_fd_ = -1;  // an eventfd; readable: end
  fuse_session* session_ = nullptr;
  bool mounted_ = false;
  std::atomic<unsigned> serving_{0};   // threads that have not ended; run() waits for 0
  std::atomic<uint64_t> requests_{0};  // statistics only
  std::atomic<bool> begun_{false};     // the first request has been answered
  std::atomic<bool> out_of_memory_{false};
};

}  // namespace karst::fuse

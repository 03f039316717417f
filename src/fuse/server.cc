// Threads block in read(2) on the session's descriptor, where the kernel wakes one for each request; polling
// would wake them all, and cost two more system calls a request. What ends them is that the mount has gone
// (ENODEV), or a signal of ours that interrupts the read, sent until they have seen that they are to end.
#include "fuse/server.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdarg>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "fuse/statfs.h"

namespace karst::fuse {
namespace err {
const ErrorKind not_mounted{"not-mounted", nullptr, EIO};
}

namespace {

sigset_t ending_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  return signals;
}

int wake_signal() { return SIGRTMIN + 3; }
void woken(int) {}

// What libfuse says while it works for us, instead of on stderr.
class LibfuseWords {
 public:
  LibfuseWords() {
    words = &text_;
    fuse_set_log_func(note);
  }
  ~LibfuseWords() {
    fuse_set_log_func(nullptr);
    words = nullptr;
  }
  // Without the prefix and the line's end.
  std::string text() const {
    std::string text = text_;
    while (text.ends_with('\n')) text.pop_back();
    if (text.starts_with("fuse: ")) text.erase(0, 6);
    return text;
  }

 private:
  static void note(fuse_log_level, const char* format, va_list arguments) {
    char line[512];
    std::vsnprintf(line, sizeof line, format, arguments);
    if (words) words->append(line);
  }
  static thread_local std::string* words;
  std::string text_;
};
thread_local std::string* LibfuseWords::words = nullptr;

Result<std::string> directory_at(const std::string& path) {
  struct stat st;
  std::unique_ptr<char, void (*)(void*)> whole(::realpath(path.c_str(), nullptr), std::free);
  if (!whole || ::stat(whole.get(), &st) != 0) {
    if (errno == ENOTCONN)
      return Error::make(err::not_mounted,
                         "mountpoint '{}' belongs to a server that has died; unmount it first", path);
    return Error::from_errno(errno, fmt::format("mountpoint '{}'", path));
  }
  if (!S_ISDIR(st.st_mode))
    return Error::make(karst::err::not_a_directory, "mountpoint '{}' is not a directory", path);
  return std::string(whole.get());
}

// libfuse asks fusermount3 to mount, but opens the device itself.
Result<void> check_fuse_device() {
  int fd = ::open("/dev/fuse", O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    bool absent = errno == ENOENT || errno == ENODEV || errno == ENXIO;
    return Error::from_errno(errno, absent ? "cannot open /dev/fuse; is the kernel's fuse module there?"
                                           : "cannot open /dev/fuse");
  }
  ::close(fd);
  return {};
}

std::string escaped(std::string_view value) {
  std::string text;
  for (char c : value) {
    if (c == ',' || c == '\\') text.push_back('\\');
    text.push_back(c);
  }
  return text;
}

std::string mountinfo_escaped(std::string_view path) {
  std::string text;
  for (char c : path) {
    if (c == ' ' || c == '\t' || c == '\n' || c == '\\')
      text += fmt::format("\\{:03o}", c);
    else
      text.push_back(c);
  }
  return text;
}

std::string libfuse_options(const std::string& source, const MountOptions& options, bool check_permissions) {
  std::string text =
      fmt::format("ro,fsname={},subtype={},max_read={}", escaped(options.fsname.value_or(source)),
                  escaped(options.subtype), View::read_size_max);
  if (options.allow_other) text += ",allow_other";
  if (check_permissions) text += ",default_permissions";
  for (const std::string& flag : options.kernel_flags) text += "," + flag;
  return text;
}

// The kernel reads 128 KiB ahead on a FUSE mount, and 4 MiB on its own btrfs. Reading a large file that is
// not cached was a quarter faster with the latter. Only root may set it, in sysfs; where that fails, reading
// is merely slower.
void raise_readahead(const std::string& mountpoint) {
  constexpr std::string_view kilobytes = "4096";
  // The device number, without asking the file system, which would be us.
  // Source: proc_pid_mountinfo(5): id, parent, major:minor, root, mountpoint where a space is \040
  std::ifstream mounts("/proc/self/mountinfo");
  std::string device;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string id, parent, number, root, where;
    if (fields >> id >> parent >> number >> root >> where && where == mountinfo_escaped(mountpoint))
      device = number;
  }
  if (device.empty()) return;
  std::ofstream("/sys/class/bdi/" + device + "/read_ahead_kb") << kilobytes;
}

bool checks_permissions(const MountOptions& options) {
  return options.default_permissions || options.allow_other;
}

// A thread that answers must not take the processor from the program that asked, which has the next request
// to make: a large file was read in order a quarter faster like this with two processors (the program was
// pushed off its own at every answer). On a processor that is free, nothing changes.
void give_way_to_clients() {
  const sched_param none{};
  ::pthread_setschedparam(::pthread_self(), SCHED_BATCH, &none);  // where it fails, reading is merely slower
}

// As many as there are processors: each more is one more that is woken in turn, and a large file was read
// more slowly (0.86, 0.82 and 0.79 of the speed of Linux's own mount with 2, 3 and 4 on two processors).
unsigned default_threads() { return std::clamp(std::thread::hardware_concurrency(), 2u, 16u); }

}  // namespace

HeldSignals::HeldSignals() {
  const sigset_t ends = ending_signals();
  ::pthread_sigmask(SIG_BLOCK, &ends, &before_);
}
HeldSignals::~HeldSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

Server::Server(btrfs::Image& image, const Logger& log, struct statvfs space, const MountOptions& options)
    : log_(log),
      served_(image),
      context_{served_, log_, space, checks_permissions(options) && options.acl},
      threads_(options.threads.value_or(default_threads())) {}

Result<std::unique_ptr<Server>> Server::create(btrfs::Image& image, const std::string& mountpoint,
                                               const std::string& source, const MountOptions& options,
                                               const Logger& log) {
  std::string directory = TRY(directory_at(mountpoint));
  TRY(check_fuse_device());
  // A file system may be shown although the tree that counts its space is damaged.
  auto space = statfs_of(image.fs());
  if (!space) log.warning("space not counted", {}, &space.error());
  std::unique_ptr<Server> server(new Server(image, log, std::move(space).value_or({}), options));
  server->mountpoint_ = std::move(directory);
  server->stop_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (server->stop_fd_ < 0) return Error::from_errno(errno, "eventfd");
  TRY(server->mount(source, options));
  return server;
}

Result<void> Server::mount(const std::string& source, const MountOptions& options) {
  std::string text = libfuse_options(source, options, checks_permissions(options));
  const char* arguments[] = {"karst", "-o", text.c_str(), nullptr};
  fuse_args args = FUSE_ARGS_INIT(3, const_cast<char**>(arguments));
  LibfuseWords words;
  session_ = fuse_session_new(&args, &handlers(), sizeof(fuse_lowlevel_ops), &context_);
  fuse_opt_free_args(&args);
  if (!session_)
    return Error::make(err::not_mounted, "libfuse refused the options '{}'", text).while_doing(words.text());
  if (fuse_session_mount(session_, mountpoint_.c_str()) != 0) {
    std::string said = words.text();
    return Error::make(err::not_mounted, "cannot mount on '{}'{}{}", mountpoint_, said.empty() ? "" : ": ",
                       said);
  }
  mounted_ = true;
  return {};
}

void Server::unmount() {
  if (!mounted_) return;
  LibfuseWords words;  // it may be unmounted already
  fuse_session_unmount(session_);
  mounted_ = false;
}

Server::~Server() {
  unmount();
  if (session_) fuse_session_destroy(session_);
  if (stop_fd_ >= 0) ::close(stop_fd_);
}

void Server::stop() const {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t written = ::write(stop_fd_, &one, sizeof one);
}

// A thread of run().
void Server::serve() {
  try {
    give_way_to_clients();
    View view(served_);
    use_view(&view);
    fuse_buf request{};
    while (!fuse_session_exited(session_)) {
      int received = fuse_session_receive_buf(session_, &request);
      if (received == -EINTR) continue;
      if (received <= 0) break;  // unmounted, or nothing that can be helped
      requests_.fetch_add(1, std::memory_order_relaxed);
      if (!handle_raw(session_, context_, request)) fuse_session_process_buf(session_, &request);
      // Not before the first request, which sets what is raised here.
      if (!begun_.exchange(true, std::memory_order_relaxed)) raise_readahead(mountpoint_);
    }
    use_view(nullptr);
    std::free(request.mem);
  } catch (const std::bad_alloc&) {
    out_of_memory_ = true;
  }
  serving_.fetch_sub(1, std::memory_order_release);
  stop();  // one that ends takes the others along
}

// Until stop() or a signal.
void Server::wait(int signal_fd) const {
  pollfd fds[] = {{stop_fd_, POLLIN, 0}, {signal_fd, POLLIN, 0}};
  while (::poll(fds, signal_fd < 0 ? 1 : 2, -1) < 0 && errno == EINTR) {
  }
}

Result<void> Server::run(Signals signals) {
  struct sigaction action {};
  action.sa_handler = woken;                     // without SA_RESTART: read() is to return
  ::sigaction(wake_signal(), &action, nullptr);  // and left there: another server may be running too
  // Blocked before there are threads, which inherit it. The wake-up must get through to them.
  const sigset_t ends = ending_signals();
  sigset_t wake, old_mask;
  sigemptyset(&wake);
  sigaddset(&wake, wake_signal());
  int signal_fd = -1;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &old_mask);
  ::pthread_sigmask(SIG_UNBLOCK, &wake, nullptr);
  if (signals == Signals::heeded) {
    ::pthread_sigmask(SIG_BLOCK, &ends, nullptr);
    signal_fd = ::signalfd(-1, &ends, SFD_CLOEXEC | SFD_NONBLOCK);
  }

  std::vector<std::thread> threads;
  Result<void> result;
  try {
    for (unsigned i = 0; i < threads_; ++i) {
      serving_.fetch_add(1, std::memory_order_relaxed);
      try {
        threads.emplace_back([this] { serve(); });
      } catch (...) {
        serving_.fetch_sub(1, std::memory_order_relaxed);
        throw;
      }
    }
  } catch (const std::system_error& error) {
    // Fewer will do.
    if (threads.empty()) result = Error::from_errno(error.code().value(), "cannot start a thread");
  }
  if (!threads.empty()) wait(signal_fd);

  fuse_session_exit(session_);
  // One that is not in read() yet misses the signal, so again.
  while (serving_.load(std::memory_order_acquire) > 0) {
    for (std::thread& thread : threads) ::pthread_kill(thread.native_handle(), wake_signal());
    ::usleep(1000);
  }
  for (std::thread& thread : threads) thread.join();
  unmount();
  if (signal_fd >= 0) {
    // The signal that ended us has been heeded; left pending it would kill the process now.
    signalfd_siginfo taken;
    while (::read(signal_fd, &taken, sizeof taken) > 0) {
    }
    ::close(signal_fd);
  }
  ::pthread_sigmask(SIG_SETMASK, &old_mask, nullptr);
  if (out_of_memory_) return Error(karst::err::no_memory, "not enough memory to serve");
  return result;
}

}  // namespace karst::fuse

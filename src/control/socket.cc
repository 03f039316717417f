#include "control/socket.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <span>
#include <thread>
#include <vector>

#include "control/line_stream.h"
#include "core/mutex.h"
#include "thin/home/command.h"

namespace karst::control {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t connections_max = 64;
constexpr LockClass server_lock{"control.server"};

// What the other side said no with.
constexpr ErrorKind refused{"refused", nullptr, EREMOTEIO};

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return Error::make(err::too_long, "a control socket's path has at most {} bytes",
                       sizeof address.sun_path - 1)
        .at("socket", path);
  path.copy(address.sun_path, path.size());
  return address;
}

Json answer_to(thin::Home& home, const std::string& line, const CancelToken& cancel) {
  Json answer;
  const Json request = Json::parse(line, nullptr, false);
  auto outcome = request.is_discarded() ? Result<Json>(Error(err::invalid, "not JSON"))
                                        : thin::execute(home, request, cancel);
  if (outcome) {
    answer["ok"] = std::move(*outcome);
  } else {
    const Error& error = outcome.error();
    answer["error"] = {
        {"name", error.kind().name}, {"errno", error.errno_value()}, {"message", error.message()}};
  }
  return answer;
}

// One thread accepts and sees who has gone; each connection has one for its requests.
class ThreadedServer final : public Server {
 public:
  ThreadedServer(thin::Home& home, std::string path, UniqueFd listening, UniqueFd wake)
      : home_(home), path_(std::move(path)), listening_(std::move(listening)), wake_(std::move(wake)) {
    accepting_ = std::thread([this] { accept_all(); });
  }

  ~ThreadedServer() override {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
    }
    wake();
    accepting_.join();
    home_.stop();
    {
      MutexLock lock(mutex_);
      for (const Connection& connection : open_) ::shutdown(connection.fd, SHUT_RDWR);
      while (!open_.empty()) ended_.wait(mutex_);
    }
    ::unlink(path_.c_str());
  }

 private:
  struct Connection {
    int fd;
    CancelSource gone{};  // the client has closed it: nobody reads an answer
  };

  void wake() {
    const uint64_t one = 1;
    static_cast<void>(::write(wake_.get(), &one, sizeof one));
  }

  void accept_all() {
    std::vector<pollfd> fds;
    for (;;) {
      {
        MutexLock lock(mutex_);
        if (stopping_) return;
        // poll() passes over what is negative.
        fds = {{wake_.get(), POLLIN, 0}, {open_.size() < connections_max ? listening_.get() : -1, POLLIN, 0}};
        for (const Connection& connection : open_)
          if (!connection.gone.cancelled()) fds.push_back({connection.fd, 0, 0});
      }
      if (::poll(fds.data(), fds.size(), -1) < 0) {
        if (errno != EINTR) return;
        continue;
      }
      if (fds[0].revents != 0) {
        uint64_t count = 0;
        static_cast<void>(::read(wake_.get(), &count, sizeof count));
      }
      // Both directions are closed: who has only ended its requests still wants the answers.
      for (const pollfd& fd : std::span(fds).subspan(2))
        if ((fd.revents & (POLLHUP | POLLERR)) != 0) give_up(fd.fd);
      if (fds[1].revents != 0) accept_one();
    }
  }

  void give_up(int fd) {
    {
      MutexLock lock(mutex_);
      for (const Connection& connection : open_)
        if (connection.fd == fd) connection.gone.cancel();
    }
    home_.pool().wake_waiting();
  }

  void accept_one() {
    UniqueFd accepted(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (accepted.get() < 0) return;
    Connection connection{accepted.get()};
    {
      MutexLock lock(mutex_);
      open_.push_back(connection);
    }
    std::thread([this, connection, stream = LineStream(std::move(accepted))]() mutable {
      serve(stream, connection.gone.token());
      // The list is left last of all, under the lock: then the server may go.
      MutexLock lock(mutex_);
      std::erase_if(open_, [&](const Connection& other) { return other.fd == connection.fd; });
      wake();
      ended_.notify_all();
    }).detach();
  }

  void serve(LineStream& stream, const CancelToken& gone) {
    for (;;) {
      auto line = stream.read();
      if (!line || !*line) return;
      if (!stream.write(answer_to(home_, **line, gone).dump())) return;
    }
  }

  thin::Home& home_;
  const std::string path_;
  const UniqueFd listening_, wake_;
  Mutex mutex_{server_lock};
  CondVar ended_;
  std::vector<Connection> open_ GUARDED_BY(mutex_);
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread accepting_;
};

}  // namespace

std::string socket_path(const std::string& pool_path) { return pool_path + ".control"; }

Result<std::unique_ptr<Server>> Server::start(thin::Home& home) {
  const std::string path = socket_path(home.path());
  const sockaddr_un address = TRY(address_of(path));
  ::unlink(path.c_str());
  UniqueFd listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (listening.get() < 0 || wake.get() < 0) return Error::from_errno(errno, "making a control socket");
  if (::fchmod(listening.get(), 0600) < 0 ||
      ::bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 ||
      ::chmod(path.c_str(), 0600) < 0 || ::listen(listening.get(), 16) < 0)
    return Error::from_errno(errno, "listening at the control socket").at("socket", path);
  return std::unique_ptr<Server>(new ThreadedServer(home, path, std::move(listening), std::move(wake)));
}

Result<Json> ask(const std::string& pool_path, const Json& request) {
  const std::string path = socket_path(pool_path);
  const sockaddr_un address = TRY(address_of(path));
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (socket.get() < 0) return Error::from_errno(errno, "making a socket");
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) {
    if (errno == ENOENT || errno == ECONNREFUSED)
      return Error(err::not_found, "nobody listens").at("socket", path);
    return Error::from_errno(errno, "connecting to the control socket").at("socket", path);
  }
  LineStream stream(std::move(socket));
  TRY(stream.write(request.dump()));
  const auto line = TRY(stream.read());
  if (!line) return Error(err::io, "the control socket was closed without an answer").at("socket", path);
  const Json answer = Json::parse(*line, nullptr, false);
  if (answer.is_discarded() || !answer.is_object())
    return Error(err::io, "an answer that is no JSON").at("socket", path);
  if (const auto ok = answer.find("ok"); ok != answer.end()) return *ok;
  const Json error = answer.value("error", Json::object());
  return Error(refused, error.value("message", std::string("refused without a reason")));
}

}  // namespace karst::control

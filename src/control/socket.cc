#include "control/socket.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <list>
#include <nlohmann/json.hpp>
#include <thread>

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

Json answer_to(thin::Home& home, const std::string& line) {
  Json answer;
  const Json request = Json::parse(line, nullptr, false);
  auto outcome =
      request.is_discarded() ? Result<Json>(Error(err::invalid, "not JSON")) : thin::execute(home, request);
  if (outcome) {
    answer["ok"] = std::move(*outcome);
  } else {
    const Error& error = outcome.error();
    answer["error"] = {
        {"name", error.kind().name}, {"errno", error.errno_value()}, {"message", error.message()}};
  }
  return answer;
}

class ThreadedServer final : public Server {
 public:
  ThreadedServer(thin::Home& home, std::string path, UniqueFd listening, UniqueFd stop)
      : home_(home), path_(std::move(path)), listening_(std::move(listening)), stop_(std::move(stop)) {
    accepting_ = std::thread([this] { accept_all(); });
  }

  ~ThreadedServer() override {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      ended_.notify_all();
    }
    const uint64_t one = 1;
    static_cast<void>(::write(stop_.get(), &one, sizeof one));
    home_.stop();
    accepting_.join();
    {
      MutexLock lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
      while (!open_.empty()) ended_.wait(mutex_);
    }
    ::unlink(path_.c_str());
  }

 private:
  void accept_all() {
    for (;;) {
      pollfd fds[] = {{listening_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
      if (::poll(fds, 2, -1) < 0 && errno != EINTR) return;
      if (fds[1].revents != 0) return;
      if (fds[0].revents == 0) continue;
      UniqueFd connection(::accept4(listening_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (connection.get() < 0) continue;
      const int fd = connection.get();
      {
        MutexLock lock(mutex_);
        while (open_.size() >= connections_max && !stopping_) ended_.wait(mutex_);
        if (stopping_) return;
        open_.push_back(fd);
      }
      std::thread([this, stream = LineStream(std::move(connection))]() mutable {
        serve(std::move(stream));
      }).detach();
    }
  }

  // The list is left last of all, under the lock: then the server may go.
  void serve(LineStream stream) {
    for (;;) {
      auto line = stream.read();
      if (!line || !*line) break;
      if (!stream.write(answer_to(home_, **line).dump())) break;
    }
    MutexLock lock(mutex_);
    open_.remove(stream.fd());
    ended_.notify_all();
  }

  thin::Home& home_;
  const std::string path_;
  const UniqueFd listening_, stop_;
  Mutex mutex_{server_lock};
  CondVar ended_;
  std::list<int> open_ GUARDED_BY(mutex_);
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
  UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
  if (listening.get() < 0 || stop.get() < 0) return Error::from_errno(errno, "making a control socket");
  if (::fchmod(listening.get(), 0600) < 0 ||
      ::bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0 ||
      ::chmod(path.c_str(), 0600) < 0 || ::listen(listening.get(), 16) < 0)
    return Error::from_errno(errno, "listening at the control socket").at("socket", path);
  return std::unique_ptr<Server>(new ThreadedServer(home, path, std::move(listening), std::move(stop)));
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

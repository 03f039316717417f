#include "block/nbd_helper.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "block/nbd_device.h"

namespace karst::block {
namespace {

#if KARST_LIBNBD
bool is_installed(const std::string& program) {
  const char* path = std::getenv("PATH");
  for (std::string_view rest = path != nullptr ? path : "/usr/bin:/bin"; !rest.empty();) {
    const size_t end = std::min(rest.find(':'), rest.size());
    if (::access((std::string(rest.substr(0, end)) + "/" + program).c_str(), X_OK) == 0) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}
#endif

// The text up to the first of these, which is removed from the rest with it.
std::string take_until(std::string_view& rest, std::string_view ends) {
  const size_t end = std::min(rest.find_first_of(ends), rest.size());
  std::string taken(rest.substr(0, end));
  rest.remove_prefix(end);
  return taken;
}

}  // namespace

#if KARST_LIBNBD
Result<std::unique_ptr<Device>> served_by(std::vector<std::string> command, std::string name, OpenMode mode,
                                          CancelToken cancel) {
  for (const std::string& program : {command[0], std::string("timeout")})
    if (!is_installed(program))
      return Error::make(err::unsupported, "this needs {}, which is not installed", program)
          .at("device", name);
  // timeout(1), without a time: in a process group of its own, so that what interrupts us at the terminal
  // does not end the program before we are done with it; and when we are, a program that hangs is killed. The
  // socket is passed to it by its number, which is known once it runs.
  const std::initializer_list<std::string> around = {
      "timeout", "--kill-after=2", "0", "sh", "-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""};
  command.insert(command.begin(), around);
  return NbdDevice::serve(std::move(command), std::move(name), mode, std::move(cancel));
}
#else
Result<std::unique_ptr<Device>> served_by(std::vector<std::string> command, std::string name, OpenMode,
                                          CancelToken) {
  return Error::make(err::unsupported, "this build, without libnbd, cannot use {}", command[0])
      .at("device", name);
}
#endif

Result<std::unique_ptr<Device>> served_by_qemu(const std::string& driver, const QemuOptions& options,
                                               std::string name, OpenMode mode, CancelToken cancel,
                                               Backing backing) {
  nlohmann::ordered_json node{{"driver", driver}};
  for (const auto& [key, value] : options) node[key] = value;
  if (backing == Backing::none) node["backing"] = nullptr;
  std::vector<std::string> command = {"qemu-nbd", "--discard=unmap"};
  if (mode == OpenMode::read_only) command.push_back("--read-only");
  command.push_back("json:" + node.dump());
  return served_by(std::move(command), std::move(name), mode, std::move(cancel));
}

Result<QemuOptions> parse_rbd(std::string_view spec) {
  constexpr std::string_view scheme = "rbd:";
  const Error wrong = Error::make(
      err::invalid, "'{}' is not of the form rbd:POOL/[NAMESPACE/]IMAGE[@SNAPSHOT][:id=USER][:conf=FILE]",
      spec);
  std::string_view rest = spec.substr(scheme.size());
  std::vector<std::string> path;
  do {
    if (!path.empty()) rest.remove_prefix(1);
    path.push_back(take_until(rest, "/@:"));
  } while (rest.starts_with('/'));
  if (path.size() < 2 || path.size() > 3 || std::ranges::find(path, "") != path.end()) return wrong.clone();
  QemuOptions options = {{"pool", path[0]}, {"image", path.back()}};
  if (path.size() == 3) options.emplace_back("namespace", path[1]);
  if (rest.starts_with('@')) {
    rest.remove_prefix(1);
    options.emplace_back("snapshot", take_until(rest, ":"));
  }
  while (rest.starts_with(':')) {
    rest.remove_prefix(1);
    const std::string word = take_until(rest, ":");
    if (word.starts_with("id="))
      options.emplace_back("user", word.substr(3));
    else if (word.starts_with("conf="))
      options.emplace_back("conf", word.substr(5));
    else
      return wrong.clone();
  }
  if (!rest.empty()) return wrong.clone();
  return options;
}

Result<std::unique_ptr<Device>> open_rbd(std::string_view spec, OpenMode mode, CancelToken cancel) {
  return served_by_qemu("rbd", TRY(parse_rbd(spec)), std::string(spec), mode, std::move(cancel));
}

}  // namespace karst::block

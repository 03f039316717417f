#include "cli/open_named.h"

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "block/held_device.h"
#include "block/known_content.h"
#include "block/nbd_device.h"
#include "control/socket.h"
#include "thin/home/home.h"

namespace karst::cli {
namespace {

constexpr std::string_view thin_scheme = "thin:";
constexpr LockClass pools_lock{"cli.pools"};

Result<std::shared_ptr<thin::Home>> open_pool(const std::string& path) {
  static Mutex mutex(pools_lock);
  static std::map<std::string, std::weak_ptr<thin::Home>> open;
  std::error_code error;
  const auto canonical = std::filesystem::canonical(path, error);
  if (error) return Error::from_errno(error.value(), "cannot open").at("pool", path);
  MutexLock lock(mutex);
  std::weak_ptr<thin::Home>& entry = open[canonical];
  if (auto home = entry.lock()) return home;
  std::shared_ptr<thin::Home> home = TRY(thin::Home::open(canonical, {.timer = false}));
  entry = home;
  return home;
}

Result<std::unique_ptr<block::Device>> open_served(const std::string& pool, const std::string& volume,
                                                   block::OpenMode mode, const CancelToken& cancel,
                                                   Error busy) {
#if KARST_LIBNBD
  const auto status = control::ask(pool, {{"command", "status"}, {"with_volumes", false}});
  if (status && status->contains("socket"))
    return block::NbdDevice::connect(block::nbd_unix_uri((*status)["socket"].get<std::string>(), volume),
                                     mode, cancel);
#endif
  return std::move(busy).while_doing("the pool is not served, and");
}

Result<std::unique_ptr<block::Device>> open_volume(std::string_view name, block::OpenMode mode,
                                                   const CancelToken& cancel) {
  const std::string_view rest = name.substr(thin_scheme.size());
  const size_t hash = rest.rfind('#');
  if (hash == std::string_view::npos || hash == 0 || hash + 1 == rest.size())
    return Error::make(err::invalid, "'{}' is not of the form thin:POOL#VOLUME", name);
  const std::string pool(rest.substr(0, hash)), volume(rest.substr(hash + 1));
  auto home = open_pool(pool);
  if (!home && home.error().is(err::busy))
    return open_served(pool, volume, mode, cancel, std::move(home).error());
  if (!home) return std::move(home).error();
  const auto entry = TRY((*home)->volume(volume));
  const bool writable = mode == block::OpenMode::read_write;
  if (writable && entry.read_only) return Error(err::read_only, "a read-only snapshot").at("device", name);
  // The volume goes first, then what it is of.
  struct Opened {
    std::shared_ptr<thin::Home> home;
    thin::VolumeRef volume;
  };
  const auto opened = std::make_shared<Opened>(*home, TRY((*home)->open_volume(entry)));
  return std::make_unique<block::HeldDevice>(std::shared_ptr<block::Device>(opened, opened->volume.get()),
                                             std::string(name), writable);
}

}  // namespace

Result<std::unique_ptr<block::Device>> open_named(std::string_view name, block::OpenMode mode,
                                                  block::FileOptions options) {
  if (name.starts_with(thin_scheme)) return open_volume(name, mode, options.cancel);
  return block::open_device(name, mode, options);
}

Result<std::vector<std::unique_ptr<block::Device>>> open_all_named(const std::vector<std::string>& names) {
  std::vector<std::unique_ptr<block::Device>> devices;
  for (const std::string& name : names) devices.push_back(TRY(open_named(name, block::OpenMode::read_only)));
  return devices;
}

std::string absolute_name(const std::string& name) {
  if (name.starts_with(thin_scheme))
    return std::string(thin_scheme) + std::filesystem::absolute(name.substr(thin_scheme.size())).string();
  const auto path = path_of(name);
  return path ? std::filesystem::absolute(*path).string() : name;
}

Result<void> check_no_volume(const std::string& name, const char* what) {
  if (!name.starts_with(thin_scheme)) return {};
  return Error::make(err::unsupported, "{} cannot be a pool's volume by its name; an NBD export of it can",
                     what)
      .at("device", name);
}

Result<std::optional<std::string>> known_content(const std::string& name) {
  if (const auto path = path_of(name)) return block::known_content(*path);
  return block::known_content(*TRY(open_named(name, block::OpenMode::read_only)));
}

std::optional<std::string> path_of(std::string_view name) {
  return name.starts_with(thin_scheme) ? std::nullopt : block::path_of(name);
}

}  // namespace karst::cli

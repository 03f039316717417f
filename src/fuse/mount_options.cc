#include "fuse/mount_options.h"

#include <algorithm>
#include <charconv>
#include <span>

#include "block/open.h"

namespace karst::fuse {
namespace {

using Value = std::optional<std::string_view>;

struct Option {
  std::string_view name;
  enum Kind : uint8_t {
    ignored,      // with or without a value
    flag,         // must have no value
    valued,       // must have one
    kernel_flag,  // handed on to the kernel
  } kind;
  Result<void> (*apply)(MountOptions&, std::string_view) = nullptr;
};

template <typename T>
Result<T> number(std::string_view text, int base = 10) {
  T value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return Error(err::invalid, "not a number");
  return value;
}

// As the kernel reads it: 0x and 0 begin other bases.
Result<uint64_t> kernel_number(std::string_view text) {
  if (text.starts_with("0x") || text.starts_with("0X")) return number<uint64_t>(text.substr(2), 16);
  if (text.size() > 1 && text.starts_with('0')) return number<uint64_t>(text.substr(1), 8);
  return number<uint64_t>(text);
}

Result<void> set_subvol(MountOptions& options, std::string_view value) {
  options.subvol = value;
  return {};
}

Result<void> set_subvolid(MountOptions& options, std::string_view value) {
  options.subvolid = TRY(kernel_number(value));
  return {};
}

Result<void> set_rescue(MountOptions& options, std::string_view value) {
  for (std::string_view rest = value; !rest.empty();) {
    std::string_view way = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), way.size() + 1));
    if (way != "nologreplay") return Error::make(err::unsupported, "rescue way '{}' is not supported", way);
    options.replay_log = false;
  }
  return {};
}

Result<void> set_threads(MountOptions& options, std::string_view value) {
  constexpr unsigned most = 256;
  unsigned threads = TRY(number<unsigned>(value));
  if (threads < 1 || threads > most) return Error::make(err::invalid, "must be from 1 to {}", most);
  options.threads = threads;
  return {};
}

Result<void> set_cache_size(MountOptions& options, std::string_view value) {
  constexpr uint64_t least = 1 << 20;
  options.cache_size = TRY(block::parse_size(value));
  if (*options.cache_size < least) return Error(err::invalid, "must be at least 1M");
  return {};
}

Result<void> set_subtype(MountOptions& options, std::string_view value) {
  options.subtype = value;
  return {};
}

constexpr Option options_table[] = {
    // ours, and those of btrfs that matter for reading
    {"ro", Option::flag, [](MountOptions&, std::string_view) { return Result<void>(); }},
    {"rw", Option::flag,
     [](MountOptions&, std::string_view) -> Result<void> {
       return Error(err::read_only, "mounting for writing is not supported yet; use ro");
     }},
    {"subvol", Option::valued, set_subvol},
    {"subvolid", Option::valued, set_subvolid},
    {"device", Option::valued,
     [](MountOptions& o, std::string_view v) { return o.devices.emplace_back(v), Result<void>(); }},
    {"degraded", Option::flag,
     [](MountOptions& o, std::string_view) { return o.degraded = true, Result<void>(); }},
    {"norecovery", Option::flag,
     [](MountOptions& o, std::string_view) { return o.replay_log = false, Result<void>(); }},
    {"nologreplay", Option::flag,
     [](MountOptions& o, std::string_view) { return o.replay_log = false, Result<void>(); }},
    {"rescue", Option::valued, set_rescue},
    {"cache-size", Option::valued, set_cache_size},
    {"threads", Option::valued, set_threads},
    {"acl", Option::flag, [](MountOptions& o, std::string_view) { return o.acl = true, Result<void>(); }},
    {"noacl", Option::flag, [](MountOptions& o, std::string_view) { return o.acl = false, Result<void>(); }},
    // FUSE
    {"allow_other", Option::flag,
     [](MountOptions& o, std::string_view) { return o.allow_other = true, Result<void>(); }},
    {"default_permissions", Option::flag,
     [](MountOptions& o, std::string_view) { return o.default_permissions = true, Result<void>(); }},
    {"fsname", Option::valued,
     [](MountOptions& o, std::string_view v) { return o.fsname = v, Result<void>(); }},
    {"subtype", Option::valued, set_subtype},
    // generic, for the kernel
    {"suid", Option::kernel_flag},
    {"nosuid", Option::kernel_flag},
    {"dev", Option::kernel_flag},
    {"nodev", Option::kernel_flag},
    {"exec", Option::kernel_flag},
    {"noexec", Option::kernel_flag},
    {"atime", Option::kernel_flag},
    {"noatime", Option::kernel_flag},
    {"sync", Option::kernel_flag},
    {"async", Option::kernel_flag},
    {"dirsync", Option::kernel_flag},
    // generic, for mount(8) or without meaning on a read-only FUSE mount
    {"defaults", Option::ignored},
    {"auto", Option::ignored},
    {"noauto", Option::ignored},
    {"user", Option::ignored},
    {"nouser", Option::ignored},
    {"users", Option::ignored},
    {"owner", Option::ignored},
    {"noowner", Option::ignored},
    {"group", Option::ignored},
    {"nogroup", Option::ignored},
    {"_netdev", Option::ignored},
    {"nofail", Option::ignored},
    {"comment", Option::ignored},
    {"loop", Option::ignored},
    {"relatime", Option::ignored},
    {"norelatime", Option::ignored},
    {"strictatime", Option::ignored},
    {"nostrictatime", Option::ignored},
    {"lazytime", Option::ignored},
    {"nolazytime", Option::ignored},
    {"diratime", Option::ignored},
    {"nodiratime", Option::ignored},
    {"iversion", Option::ignored},
    {"noiversion", Option::ignored},
    {"mand", Option::ignored},
    {"nomand", Option::ignored},
    {"silent", Option::ignored},
    {"loud", Option::ignored},
    {"symfollow", Option::ignored},
    // btrfs, for writing only. Source: btrfs(5)
    {"autodefrag", Option::ignored},
    {"noautodefrag", Option::ignored},
    {"barrier", Option::ignored},
    {"nobarrier", Option::ignored},
    {"clear_cache", Option::ignored},
    {"commit", Option::ignored},
    {"compress", Option::ignored},
    {"compress-force", Option::ignored},
    {"datacow", Option::ignored},
    {"nodatacow", Option::ignored},
    {"datasum", Option::ignored},
    {"nodatasum", Option::ignored},
    {"discard", Option::ignored},
    {"nodiscard", Option::ignored},
    {"enospc_debug", Option::ignored},
    {"noenospc_debug", Option::ignored},
    {"fatal_errors", Option::ignored},
    {"flushoncommit", Option::ignored},
    {"noflushoncommit", Option::ignored},
    {"inode_cache", Option::ignored},
    {"noinode_cache", Option::ignored},
    {"max_inline", Option::ignored},
    {"metadata_ratio", Option::ignored},
    {"rescan_uuid_tree", Option::ignored},
    {"skip_balance", Option::ignored},
    {"space_cache", Option::ignored},
    {"nospace_cache", Option::ignored},
    {"ssd", Option::ignored},
    {"nossd", Option::ignored},
    {"ssd_spread", Option::ignored},
    {"nossd_spread", Option::ignored},
    {"thread_pool", Option::ignored},
    {"treelog", Option::ignored},
    {"notreelog", Option::ignored},
    {"user_subvol_rm_allowed", Option::ignored},
};

Result<void> apply_word(std::string_view word, MountOptions& options) {
  const size_t equals = word.find('=');
  const std::string_view name = word.substr(0, equals);
  Value value;
  if (equals != std::string_view::npos) value = word.substr(equals + 1);
  // For programs, by agreement of mount(8).
  if (name.starts_with("x-") || name.starts_with("X-")) return {};
  const auto* option = std::ranges::find(options_table, name, &Option::name);
  if (option == std::end(options_table)) return Error::make(err::invalid, "unknown mount option '{}'", word);
  if (option->kind == Option::ignored) return {};
  if (option->kind == Option::valued && (!value || value->empty()))
    return Error::make(err::invalid, "mount option '{}' needs a value", name);
  if (option->kind != Option::valued && value)
    return Error::make(err::invalid, "mount option '{}' takes no value", name);
  if (option->kind == Option::kernel_flag) {
    options.kernel_flags.emplace_back(name);
    return {};
  }
  return option->apply(options, value.value_or("")).context([&] {
    return fmt::format("mount option '{}'", word);
  });
}

}  // namespace

Result<void> parse_mount_options(std::string_view text, MountOptions& options) {
  // A comma in a value is written \, (as libfuse and mount(8) have it), a backslash \\.
  std::string word;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || text[i] == ',') {
      if (!word.empty()) TRY(apply_word(std::string_view(word), options));
      word.clear();
    } else {
      if (text[i] == '\\' && i + 1 < text.size() && (text[i + 1] == ',' || text[i + 1] == '\\')) ++i;
      word.push_back(text[i]);
    }
  }
  return {};
}

}  // namespace karst::fuse

#include "btrfs/tool/build/plan.h"

#include <charconv>
#include <fstream>

#include "btrfs/tool/build/errors.h"
#include "btrfs/tool/build/paths.h"
#include "btrfs/tool/build/plan_fields.h"
#include "btrfs/tool/build/posix_acl.h"

namespace karst::btrfs::build {
namespace {
using Json = nlohmann::json;
constexpr size_t max_content = 1 << 20;

// Where relative locations and names are looked up.
struct Context {
  std::string directory;  // of the plan, with a slash at its end; empty for the current one
  const IdNames& names;
};

std::optional<uint32_t> id_of(std::string_view text, bool is_group, const Context& context) {
  uint32_t id;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (failed == std::errc() && end == text.data() + text.size() && id != ~0u) return id;
  return text.empty() ? std::nullopt : context.names.find(text, is_group);
}

// "0:0", "root:shadow", "1000", ":5".
Result<void> read_owner(PlanFields& fields, const Context& context, std::optional<uint32_t>& uid,
                        std::optional<uint32_t>& gid) {
  const auto owner = TRY(fields.text("owner"));
  if (!owner) return {};
  const size_t colon = owner->find(':');
  const std::string_view user = std::string_view(*owner).substr(0, colon);
  if (!user.empty()) uid = id_of(user, false, context);
  if (colon != owner->npos) gid = id_of(std::string_view(*owner).substr(colon + 1), true, context);
  if ((!user.empty() && !uid) || (colon != owner->npos && !gid) || owner->empty())
    return fields.refuse("owner", context.names.knows_none()
                                      ? "must be numbers, UID:GID, unless names may be looked up"
                                      : "no such user or group is known");
  return {};
}

Result<std::string> read_path(PlanFields& fields, const char* key, const std::string& text) {
  auto path = normalize_path(text);
  if (!path) return fields.refuse(key, path.error().what());
  return path;
}

Result<void> read_recursive(PlanFields& outer, const Context& context, SourceSpec& source) {
  const Json* value = outer.take("recursive");
  if (!value) return {};
  if (!value->is_object()) return outer.refuse("recursive", "must be an object");
  PlanFields fields(*value, outer.where() + ": \"recursive\"");
  SourceOverrides& overrides = source.overrides;
  TRY(read_owner(fields, context, overrides.uid, overrides.gid));
  overrides.file_permissions = TRY(fields.mode("file_mode"));
  overrides.directory_permissions = TRY(fields.mode("directory_mode"));
  overrides.mtime = TRY(fields.time("mtime"));
  overrides.keep_xattrs = TRY(fields.flag("xattrs", true));
  return fields.end();
}

Result<void> read_source(PlanFields& fields, const Context& context, PlanEntry& entry) {
  const auto location = TRY(fields.text("source"));
  if (!location) return {};
  if (location->empty()) return fields.refuse("source", "must name something");
  SourceSpec source;
  source.location = location->starts_with('/') ? *location : context.directory + *location;
  source.target = entry.path;
  const std::string kind = TRY(fields.text("source_kind")).value_or("automatic");
  if (kind == "directory")
    source.kind = SourceKind::directory;
  else if (kind == "archive")
    source.kind = SourceKind::archive;
  else if (kind == "oci-layer")
    source.kind = SourceKind::oci_layer;
  else if (kind == "oci-layout")
    source.kind = SourceKind::oci_layout;
  else if (kind == "file")
    source.kind = SourceKind::file;
  else if (kind != "automatic")
    return fields.refuse("source_kind", "no such kind");
  source.one_file_system = TRY(fields.flag("one_file_system"));
  source.oci_platform = TRY(fields.text("oci_platform")).value_or("");
  source.oci_reference = TRY(fields.text("oci_reference")).value_or("");
  TRY(read_recursive(fields, context, source));
  entry.source = std::move(source);
  return {};
}

Result<void> read_device(PlanFields& fields, Attributes& attributes) {
  const std::string device = TRY(fields.text("device")).value_or("");
  const size_t colon = std::min(device.find(':'), device.size());
  auto number = [](std::string_view text, uint32_t limit) -> std::optional<uint32_t> {
    uint32_t value;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (failed != std::errc() || end != text.data() + text.size() || value >= limit) return std::nullopt;
    return value;
  };
  const auto major = number(std::string_view(device).substr(0, colon), 1 << 12);
  const auto minor =
      colon == device.size() ? std::nullopt : number(std::string_view(device).substr(colon + 1), 1 << 20);
  if (!major || !minor) return fields.refuse("device", "must be \"MAJOR:MINOR\", below 4096 and 1048576");
  attributes.device_major = *major;
  attributes.device_minor = *minor;
  return {};
}

struct TypeName {
  const char* name;
  uint32_t mode;  // type and usual permissions
};
constexpr TypeName type_names[] = {
    {"directory", mode::directory | 0755}, {"file", mode::regular | 0644}, {"symlink", mode::symlink | 0777},
    {"character", mode::character | 0600}, {"block", mode::block | 0600},  {"fifo", mode::fifo | 0644},
    {"socket", mode::socket | 0755},
};

Result<void> read_made(PlanFields& fields, uint32_t mode, PlanEntry& entry) {
  Attributes attributes{.mode = mode};
  if (attributes.is_device()) TRY(read_device(fields, attributes));
  if (attributes.is_regular()) entry.content = TRY(fields.bytes("content")).value_or("");
  if (attributes.is_symlink()) {
    entry.content = TRY(fields.bytes("target")).value_or("");
    if (entry.content.empty() || entry.content.size() > 4095 ||
        entry.content.find('\0') != entry.content.npos)
      return fields.refuse("target", "must be 1 to 4095 bytes, none of them NUL");
  }
  if (entry.content.size() > max_content)
    return fields.refuse("content", "more than 1 MiB: give it as a source");
  attributes.size = entry.content.size();
  entry.made = attributes;
  return {};
}

Result<void> read_type(PlanFields& fields, PlanEntry& entry) {
  const auto type = TRY(fields.text("type"));
  if (!type) return {};
  if (entry.source) return fields.refuse("type", "not with \"source\"");
  if (*type == "remove") {
    entry.remove = true;
    return {};
  }
  if (*type == "hardlink") {
    const auto target = TRY(fields.text("target"));
    if (!target) return fields.refuse("target", "missing: a hard link needs one");
    entry.hard_link = TRY(read_path(fields, "target", *target));
    return {};
  }
  for (const TypeName& known : type_names)
    if (*type == known.name) return read_made(fields, known.mode, entry);
  return fields.refuse("type", "no such type");
}

Result<void> read_acl(PlanFields& fields, const char* key, const char* xattr, const Context& context,
                      PlanEntry& entry) {
  const auto text = TRY(fields.text(key));
  if (!text) return {};
  auto parsed =
      parse_acl(*text, [&](std::string_view name, bool is_group) { return id_of(name, is_group, context); });
  if (!parsed) return fields.refuse(key, parsed.error().what());
  auto encoded = encode_acl(*parsed);
  if (!encoded) return fields.refuse(key, encoded.error().what());
  const bool is_access = xattr == std::string_view(acl_access_xattr);
  // The mode shows what an access list grants; the kernel keeps both in step.
  if (is_access) entry.patch.access = mode_of_acl(*parsed);
  if (is_access && is_trivial_acl(*parsed))
    entry.xattrs.push_back({xattr, std::nullopt});
  else
    entry.xattrs.push_back({xattr, std::move(*encoded)});
  return {};
}

Result<void> read_xattrs(PlanFields& fields, PlanEntry& entry) {
  const Json* xattrs = fields.take("xattrs");
  if (!xattrs) return {};
  if (!xattrs->is_object()) return fields.refuse("xattrs", "must be an object");
  for (const auto& [name, value] : xattrs->items()) {
    if (!is_storable_xattr(name) || name.find('\0') != name.npos)
      return fields.refuse("xattrs", fmt::format("not a full name of an attribute: {}", shown_path(name)));
    XattrChange change{.name = name, .value = std::nullopt};
    if (!value.is_null()) {
      change.value = bytes_of_json(value);
      if (!change.value) return fields.refuse("xattrs", fmt::format("{} has no value that is one", name));
    }
    entry.xattrs.push_back(std::move(change));
  }
  return {};
}

Result<void> read_attributes(PlanFields& fields, const Context& context, PlanEntry& entry) {
  TRY(read_owner(fields, context, entry.patch.uid, entry.patch.gid));
  entry.patch.permissions = TRY(fields.mode("mode"));
  entry.patch.mtime = TRY(fields.time("mtime"));
  entry.patch.atime = TRY(fields.time("atime"));
  entry.patch.ctime = TRY(fields.time("ctime"));
  entry.patch.otime = TRY(fields.time("otime"));
  TRY(read_xattrs(fields, entry));
  TRY(read_acl(fields, "acl", acl_access_xattr, context, entry));
  return read_acl(fields, "default_acl", acl_default_xattr, context, entry);
}

Result<void> read_compression(PlanFields& fields, Properties& properties) {
  const auto text = TRY(fields.text("compression"));
  if (!text) return {};
  const size_t colon = text->find(':');
  const std::string_view name = std::string_view(*text).substr(0, colon);
  int least = 0, most = 0;
  if (name == "none")
    properties.compression = CompressionChoice::none;
  else if (name == "lzo")
    properties.compression = CompressionChoice::lzo;
  else if (name == "zlib")
    properties.compression = CompressionChoice::zlib, least = 1, most = 9;
  else if (name == "zstd")
    properties.compression = CompressionChoice::zstd, least = -15, most = 15;
  else
    return fields.refuse("compression", "must be none, lzo, zlib[:1-9] or zstd[:-15-15]");
  if (colon == text->npos) return {};
  int level = 0;
  const char* end_of_text = text->data() + text->size();
  const auto [end, failed] = std::from_chars(text->data() + colon + 1, end_of_text, level);
  if (failed != std::errc() || end != end_of_text || level < least || level > most || most == 0)
    return fields.refuse("compression", "no such level");
  properties.level = static_cast<int8_t>(level);
  return {};
}

Result<void> read_declarations(PlanFields& fields, PlanEntry& entry) {
  entry.subvolume = TRY(fields.flag("subvolume"));
  entry.readonly = TRY(fields.flag("readonly"));
  entry.default_subvolume = TRY(fields.flag("default_subvolume"));
  if (const auto origin = TRY(fields.text("snapshot_of")))
    entry.snapshot_of = TRY(read_path(fields, "snapshot_of", *origin));
  const bool is_one = entry.subvolume || entry.snapshot_of;
  if (entry.readonly && !is_one) return fields.refuse("readonly", "only of a subvolume or snapshot");
  if (entry.default_subvolume && !is_one && !entry.path.empty())
    return fields.refuse("default_subvolume", "only of a subvolume or snapshot");
  Properties properties;
  TRY(read_compression(fields, properties));
  properties.nodatacow = TRY(fields.flag("nodatacow"));
  if (properties.nodatacow && properties.compression != CompressionChoice::unset &&
      properties.compression != CompressionChoice::none)
    return fields.refuse("nodatacow", "not with compression");
  if (properties != Properties()) entry.properties = properties;
  return {};
}

Result<PlanEntry> read_entry(const Json& object, size_t number, const std::string& location,
                             const Context& context) {
  const auto path = object.find("path");
  const std::string shown = path != object.end() && path->is_string() ? shown_path(path->get<std::string>())
                                                                      : fmt::format("entry {}", number);
  PlanFields fields(object, fmt::format("{}: {}", location, shown));
  const auto path_text = TRY(fields.text("path"));
  if (!path_text) return fields.refuse("path", "missing: each entry needs one");
  PlanEntry entry;
  entry.path = TRY(read_path(fields, "path", *path_text));
  TRY(read_source(fields, context, entry));
  TRY(read_type(fields, entry));
  TRY(read_attributes(fields, context, entry));
  TRY(read_declarations(fields, entry));
  TRY(fields.end());
  if (entry.remove && (entry.changes() || entry.subvolume || entry.snapshot_of || entry.properties))
    return fields.refuse("type", "what is removed has nothing else said about it");
  if (entry.snapshot_of && (entry.source || entry.made || entry.hard_link || entry.changes()))
    return fields.refuse("snapshot_of", "a snapshot has what its origin has, and nothing else");
  if (entry.made && !entry.made->is_directory() && entry.subvolume)
    return fields.refuse("subvolume", "only of a directory");
  return entry;
}

// Gets the library's events: entries are handed on and forgotten as they end.
class PlanReader {
 public:
  PlanReader(std::string location, Context context, PlanVisitor visit)
      : location_(std::move(location)), context_(std::move(context)), visit_(visit) {}

  Result<void> read(auto&& input) {
    Json rest;
    try {
      rest = Json::parse(input, [this](int depth, Json::parse_event_t event, Json& value) {
        return error_ ? false : on_event(depth, event, value);
      });
    } catch (const Json::exception& failure) {
      return Error::make(err::source_plan, "{}: {}", location_, failure.what());
    }
    if (error_) return std::move(*error_);
    if (!rest.is_object()) return Error::make(err::source_plan, "{}: not a JSON object", location_);
    return check_rest(rest);
  }

 private:
  Result<void> check_rest(const Json& rest) const {
    PlanFields fields(rest, location_);
    const Json* version = fields.take("version");
    const Json* entries = fields.take("entries");
    if (!version || *version != 1) return fields.refuse("version", "must be 1");
    if (!entries || !entries->is_array()) return fields.refuse("entries", "must be an array");
    return fields.end();
  }

  bool on_event(int depth, Json::parse_event_t event, Json& value) {
    using Event = Json::parse_event_t;
    switch (event) {
      case Event::object_start: keys_.emplace_back(); return true;
      case Event::key: return on_key(depth, value.get<std::string>());
      case Event::object_end:
        keys_.pop_back();
        return depth == 2 && section_ == "entries" ? on_entry(value) : true;
      case Event::array_start:
      case Event::value:
        if (depth == 2 && section_ == "entries")
          fail(Error::make(err::source_plan, "{}: \"entries\": each must be an object (entry {})", location_,
                           count_));
        return true;
      case Event::array_end: return true;
    }
    return true;
  }

  bool on_key(int depth, std::string key) {
    if (depth == 1) section_ = key;
    if (!keys_.back().insert(key).second)
      fail(Error::make(err::source_plan, "{}: the key \"{}\" twice in one object (entry {})", location_, key,
                       count_));
    return true;
  }

  bool on_entry(const Json& value) {
    auto entry = read_entry(value, count_++, location_, context_);
    if (!entry) {
      fail(std::move(entry).error());
      return false;
    }
    auto done = visit_(std::move(*entry));
    if (!done) fail(std::move(done).error());
    return false;
  }

  void fail(Error error) {
    if (!error_) error_.emplace(std::move(error));
  }

  const std::string location_;
  const Context context_;
  PlanVisitor visit_;
  std::vector<std::set<std::string>> keys_;  // of the objects that are open
  std::string section_;                      // key of the outermost object
  size_t count_ = 0;
  std::optional<Error> error_;
};

Context context_of(const std::string& location, const IdNames& names) {
  const size_t slash = location.rfind('/');
  return {slash == location.npos ? "" : location.substr(0, slash + 1), names};
}
}  // namespace

bool PlanEntry::changes() const {
  return patch.permissions || patch.access || patch.uid || patch.gid || patch.atime || patch.mtime ||
         patch.ctime || patch.otime || !xattrs.empty();
}

Result<void> read_plan(std::string_view text, const std::string& location, const IdNames& names,
                       PlanVisitor visit) {
  return PlanReader(location, context_of(location, names), visit).read(text);
}

Result<void> read_plan_file(const std::string& location, const IdNames& names, PlanVisitor visit) {
  std::ifstream file(location);
  if (!file) return Error::make(err::source_unreadable, "{}: the plan cannot be opened", location);
  return PlanReader(location, context_of(location, names), visit).read(file);
}

void declare(const PlanEntry& entry, Declarations& declarations) {
  if (entry.subvolume || entry.snapshot_of)
    declarations.subvolumes.push_back(
        {.path = entry.path, .readonly = entry.readonly, .snapshot_of = entry.snapshot_of});
  if (entry.default_subvolume) declarations.default_subvolume = entry.path;
  if (entry.properties) declarations.properties.push_back({entry.path, *entry.properties});
}

}  // namespace karst::btrfs::build

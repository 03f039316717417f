#include "btrfs/tool/build/posix_acl.h"

#include <algorithm>
#include <charconv>

#include "btrfs/tool/build/errors.h"
#include "core/bytes.h"

namespace karst::btrfs::build {
namespace {

constexpr uint32_t acl_version = 2;
constexpr uint32_t undefined_id = ~uint32_t{0};  // of entries that have none

struct StoredEntry {
  le16 tag, permissions;
  le32 id;
};
static_assert(sizeof(StoredEntry) == 8 && Overlay<StoredEntry>);

bool is_named(AclTag tag) { return tag == AclTag::user || tag == AclTag::group; }

size_t count(const std::vector<AclEntry>& entries, AclTag tag) {
  return static_cast<size_t>(std::count_if(entries.begin(), entries.end(),
                                           [tag](const AclEntry& entry) { return entry.tag == tag; }));
}

uint32_t permissions_of(const std::vector<AclEntry>& entries, AclTag tag) {
  for (const AclEntry& entry : entries)
    if (entry.tag == tag) return entry.permissions;
  return 0;
}

Error refuse(std::string_view why) { return Error::make(err::source_acl, "access control list: {}", why); }

std::string_view trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

std::optional<uint16_t> parse_permissions(std::string_view text) {
  if (text.size() == 1 && text[0] >= '0' && text[0] <= '7') return static_cast<uint16_t>(text[0] - '0');
  uint16_t permissions = 0;
  for (char letter : text) {
    if (letter == 'r')
      permissions |= 4;
    else if (letter == 'w')
      permissions |= 2;
    else if (letter == 'x')
      permissions |= 1;
    else if (letter != '-')
      return std::nullopt;
  }
  if (text.empty()) return std::nullopt;
  return permissions;
}

std::optional<AclTag> parse_tag(std::string_view tag, bool named) {
  if (tag == "user" || tag == "u") return named ? AclTag::user : AclTag::user_owner;
  if (tag == "group" || tag == "g") return named ? AclTag::group : AclTag::group_owner;
  if (named) return std::nullopt;
  if (tag == "mask" || tag == "m") return AclTag::mask;
  if (tag == "other" || tag == "o") return AclTag::other;
  return std::nullopt;
}

std::optional<uint32_t> parse_id(std::string_view text) {
  uint32_t id;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return id;
}

Result<AclEntry> parse_entry(std::string_view text, AclNames names) {
  const size_t first = text.find(':');
  const size_t second = first == text.npos ? text.npos : text.find(':', first + 1);
  // "mask:rw" and "other:r" are usual, too.
  const bool short_form = first != text.npos && second == text.npos;
  if (first == text.npos) return refuse(fmt::format("not an entry: {}", text));
  const std::string_view name = short_form ? "" : trim(text.substr(first + 1, second - first - 1));
  const auto tag = parse_tag(trim(text.substr(0, first)), !name.empty());
  const auto permissions = parse_permissions(trim(text.substr((short_form ? first : second) + 1)));
  if (!tag || !permissions || (short_form && *tag != AclTag::mask && *tag != AclTag::other))
    return refuse(fmt::format("not an entry: {}", text));
  AclEntry entry{.tag = *tag, .permissions = *permissions};
  if (name.empty()) return entry;
  std::optional<uint32_t> id = parse_id(name);
  if (!id) id = names(name, *tag == AclTag::group);
  if (!id) return refuse(fmt::format("no id is known for {}", name));
  entry.id = *id;
  return entry;
}
}  // namespace

Result<std::string> encode_acl(std::vector<AclEntry> entries) {
  std::sort(entries.begin(), entries.end(), [](const AclEntry& a, const AclEntry& b) {
    return std::pair(a.tag, is_named(a.tag) ? a.id : 0) < std::pair(b.tag, is_named(b.tag) ? b.id : 0);
  });
  for (AclTag tag : {AclTag::user_owner, AclTag::group_owner, AclTag::other})
    if (count(entries, tag) != 1) return refuse("owner, group and other must be there, once each");
  if (count(entries, AclTag::mask) > 1) return refuse("more than one mask");
  if (count(entries, AclTag::mask) == 0 && entries.size() > 3) return refuse("named entries need a mask");
  for (size_t i = 1; i < entries.size(); ++i)
    if (is_named(entries[i].tag) && entries[i].tag == entries[i - 1].tag &&
        entries[i].id == entries[i - 1].id)
      return refuse(fmt::format("id {} twice", entries[i].id));
  std::string bytes;
  const le32 version = acl_version;
  bytes += as_text(bytes_of(version));
  for (const AclEntry& entry : entries) {
    const StoredEntry stored{static_cast<uint16_t>(entry.tag), static_cast<uint16_t>(entry.permissions & 7),
                             is_named(entry.tag) ? entry.id : undefined_id};
    bytes += as_text(bytes_of(stored));
  }
  return bytes;
}

bool is_trivial_acl(const std::vector<AclEntry>& entries) {
  return std::none_of(entries.begin(), entries.end(),
                      [](const AclEntry& entry) { return is_named(entry.tag) || entry.tag == AclTag::mask; });
}

uint32_t mode_of_acl(const std::vector<AclEntry>& entries) {
  const AclTag group = count(entries, AclTag::mask) > 0 ? AclTag::mask : AclTag::group_owner;
  return permissions_of(entries, AclTag::user_owner) << 6 | permissions_of(entries, group) << 3 |
         permissions_of(entries, AclTag::other);
}

std::string acl_after_chmod(std::string encoded, uint32_t mode) {
  const MutableBytes bytes = std::as_writable_bytes(std::span(encoded));
  const auto* version = overlay<le32>(bytes);
  if (!version || *version != acl_version || (bytes.size() - sizeof *version) % sizeof(StoredEntry) != 0)
    return encoded;
  StoredEntry *group = nullptr, *mask = nullptr;
  for (size_t at = sizeof *version; at < bytes.size(); at += sizeof(StoredEntry)) {
    auto* entry = reinterpret_cast<StoredEntry*>(bytes.data() + at);
    switch (AclTag(entry->tag.value())) {
      case AclTag::user_owner: entry->permissions = static_cast<uint16_t>(mode >> 6 & 7); break;
      case AclTag::other: entry->permissions = static_cast<uint16_t>(mode & 7); break;
      case AclTag::group_owner: group = entry; break;
      case AclTag::mask: mask = entry; break;
      case AclTag::user:
      case AclTag::group: break;
    }
  }
  if (StoredEntry* grants = mask ? mask : group) grants->permissions = static_cast<uint16_t>(mode >> 3 & 7);
  return encoded;
}

Result<std::vector<AclEntry>> parse_acl(std::string_view text, AclNames names) {
  std::vector<AclEntry> entries;
  while (!text.empty()) {
    const size_t end = std::min(text.find_first_of(",\n"), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(text.size(), end + 1));
    line = trim(line.substr(0, line.find('#')));
    if (!line.empty()) entries.push_back(TRY(parse_entry(line, names)));
  }
  if (!is_trivial_acl(entries) && count(entries, AclTag::mask) == 0) {
    uint16_t mask = 0;
    for (const AclEntry& entry : entries)
      if (is_named(entry.tag) || entry.tag == AclTag::group_owner) mask |= entry.permissions;
    entries.push_back({.tag = AclTag::mask, .permissions = mask});
  }
  return entries;
}

}  // namespace karst::btrfs::build

#include "btrfs/tool/build/paths.h"

#include <algorithm>

#include "btrfs/format/inode.h"
#include "btrfs/tool/build/errors.h"

namespace karst::btrfs::build {
namespace {
constexpr size_t max_path = 1 << 20;

Result<void> check_component(std::string_view name, std::string_view path) {
  if (name == "..") return Error(err::source_path_invalid, "the path leaves its root: " + shown_path(path));
  if (name.size() > max_name_length)
    return Error::make(err::source_name_too_long, "a name of {} bytes, more than {}: {}", name.size(),
                       max_name_length, shown_path(path));
  return {};
}

Result<void> check_whole(std::string_view path) {
  if (path.size() > max_path)
    return Error::make(err::source_name_too_long, "a path of {} bytes: {}", path.size(), shown_path(path));
  if (path.find('\0') != path.npos)
    return Error(err::source_path_invalid, "a path with a NUL in it: " + shown_path(path));
  return {};
}
}  // namespace

std::string shown_path(std::string_view path) {
  constexpr size_t shown = 300;
  if (path.size() <= shown) return std::string(path);
  return fmt::format("{}…{}", path.substr(0, shown / 2), path.substr(path.size() - shown / 2));
}

Result<std::string> normalize_path(std::string_view text) {
  TRY(check_whole(text));
  std::string path;
  path.reserve(text.size());
  while (!text.empty()) {
    const std::string_view name = text.substr(0, text.find('/'));
    text.remove_prefix(std::min(text.size(), name.size() + 1));
    if (name.empty() || name == ".") continue;
    TRY(check_component(name, name == ".." ? path + "/.." : name));
    if (!path.empty()) path += '/';
    path += name;
  }
  return path;
}

Result<void> check_path(std::string_view path) {
  TRY(check_whole(path));
  for (size_t start = 0; start < path.size() || start > 0;) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string_view name = path.substr(start, end - start);
    if (name.empty() || name == ".")
      return Error(err::source_path_invalid, "not a normal path: " + shown_path(path));
    TRY(check_component(name, path));
    if (end == path.size()) break;
    start = end + 1;
  }
  return {};
}

std::string_view parent_path(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == path.npos ? std::string_view() : path.substr(0, slash);
}

std::string_view base_name(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == path.npos ? path : path.substr(slash + 1);
}

uint32_t path_depth(std::string_view path) {
  return path.empty() ? 0 : 1 + static_cast<uint32_t>(std::count(path.begin(), path.end(), '/'));
}

bool is_below_or_at(std::string_view path, std::string_view ancestor) {
  return ancestor.empty() ||
         (path.starts_with(ancestor) && (path.size() == ancestor.size() || path[ancestor.size()] == '/'));
}

std::string join_paths(std::string_view a, std::string_view b) {
  std::string path;
  path.reserve(a.size() + 1 + b.size());
  path = a;
  if (!a.empty() && !b.empty()) path += '/';
  path += b;
  return path;
}

int compare_paths(std::string_view a, std::string_view b) {
  auto [in_a, in_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  auto rank = [](std::string_view path, auto at) {
    return at == path.end() ? -1 : *at == '/' ? 0 : int{static_cast<uint8_t>(*at)};
  };
  return rank(a, in_a) - rank(b, in_b);
}

}  // namespace karst::btrfs::build

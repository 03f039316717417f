#include "btrfs/tool/build/id_names.h"

#include <grp.h>
#include <pwd.h>

#include <charconv>
#include <fstream>
#include <map>
#include <vector>

#include "core/mutex.h"

namespace karst::btrfs::build {
namespace {

// Field 0 is the name, field 2 the number, in both files.
struct Line {
  std::string_view name;
  uint32_t id;
};
std::optional<Line> parse_line(std::string_view text) {
  const size_t first = text.find(':');
  const size_t second = first == text.npos ? text.npos : text.find(':', first + 1);
  if (first == 0 || second == text.npos) return std::nullopt;
  const std::string_view number = text.substr(second + 1, text.find(':', second + 1) - second - 1);
  Line line{text.substr(0, first), 0};
  const auto [end, failed] = std::from_chars(number.data(), number.data() + number.size(), line.id);
  if (failed != std::errc() || end != number.data() + number.size() || line.id == UINT32_MAX)
    return std::nullopt;
  return line;
}

// Lines that include others' databases are no names.
bool is_no_entry(std::string_view line) {
  return line.find_first_not_of(" \t\r") == line.npos || line[0] == '#' || line[0] == '+' || line[0] == '-';
}
}  // namespace

class IdNames::File {
 public:
  static Result<std::shared_ptr<const File>> read(const std::string& path) {
    std::ifstream file(path);
    if (!file) return Error::from_errno(errno, path);
    auto made = std::make_shared<File>();
    size_t number = 0;
    for (std::string text; std::getline(file, text);) {
      ++number;
      if (is_no_entry(text)) continue;
      const auto line = parse_line(text);
      if (!line) return Error::make(karst::err::invalid, "{}:{}: not NAME:PASSWORD:ID:…", path, number);
      made->ids_.emplace(line->name, line->id);  // the first of a name counts, as in getpwnam()
    }
    if (file.bad()) return Error::make(karst::err::io, "{}: reading names", path);
    return std::shared_ptr<const File>(std::move(made));
  }
  std::optional<uint32_t> find(std::string_view name) const {
    auto found = ids_.find(name);
    return found == ids_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  std::map<std::string, uint32_t, std::less<>> ids_;
};

// Asks once for each name: many files have the same.
class IdNames::Machine {
 public:
  explicit Machine(bool is_group) : is_group_(is_group) {}

  std::optional<uint32_t> find(std::string_view name) {
    {
      MutexLock lock(mutex_);
      if (auto known = known_.find(name); known != known_.end()) return known->second;
    }
    const std::string text(name);
    const auto id = is_group_ ? look_up_group(text) : look_up_user(text);
    MutexLock lock(mutex_);
    return known_.emplace(text, id).first->second;
  }

 private:
  static constexpr size_t record_max = 1 << 20;  // of a group with very many members

  static std::optional<uint32_t> look_up_user(const std::string& name) {
    std::vector<char> buffer(record_max);
    passwd entry, *found = nullptr;
    ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    return found ? std::optional<uint32_t>(found->pw_uid) : std::nullopt;
  }
  static std::optional<uint32_t> look_up_group(const std::string& name) {
    std::vector<char> buffer(record_max);
    group entry, *found = nullptr;
    ::getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
    return found ? std::optional<uint32_t>(found->gr_gid) : std::nullopt;
  }

  const bool is_group_;
  static constexpr LockClass lock_class{"btrfs.build.id-names"};
  Mutex mutex_{lock_class};
  std::map<std::string, std::optional<uint32_t>, std::less<>> known_ GUARDED_BY(mutex_);
};

std::optional<uint32_t> IdNames::Kind::find(std::string_view name) const {
  if (file) return file->find(name);
  return machine ? machine->find(name) : std::nullopt;
}

Result<IdNames::Kind> IdNames::open(const std::string& file, bool ask_machine, bool is_group) {
  Kind kind;
  if (!file.empty())
    kind.file = TRY(File::read(file));
  else if (ask_machine)
    kind.machine = std::make_shared<Machine>(is_group);
  return kind;
}

Result<IdNames> IdNames::create(const std::string& passwd, const std::string& group, bool ask_machine) {
  IdNames names;
  names.users_ = TRY(open(passwd, ask_machine, false));
  names.groups_ = TRY(open(group, ask_machine, true));
  return names;
}

std::optional<uint32_t> IdNames::find(std::string_view name, bool is_group) const {
  return (is_group ? groups_ : users_).find(name);
}

}  // namespace karst::btrfs::build

// Numbers of users and groups by name, for owners in plans and for names in access lists of archives.
//
// Names come from files in the form of passwd(5) and group(5), of which NAME:…:ID: is used, or else from what
// this machine knows (getpwnam(3), getgrnam(3)), if it may be asked. Thread-safe. Memory: the files' names,
// and those that the machine was asked for, once each.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/result.h"

namespace karst::btrfs::build {

class IdNames {
 public:
  IdNames() = default;  // knows none
  // Paths of the files; empty: there is none. Where there is one the machine is not asked for that kind.
  // err::invalid with file and line.
  static Result<IdNames> create(const std::string& passwd, const std::string& group, bool ask_machine);

  std::optional<uint32_t> find(std::string_view name, bool is_group) const;
  bool knows_none() const { return !users_.file && !groups_.file && !users_.machine && !groups_.machine; }

 private:
  class File;
  class Machine;
  struct Kind {
    std::shared_ptr<const File> file;
    std::shared_ptr<Machine> machine;
    std::optional<uint32_t> find(std::string_view name) const;
  };
  static Result<Kind> open(const std::string& file, bool ask_machine, bool is_group);
  Kind users_, groups_;
};

}  // namespace karst::btrfs::build

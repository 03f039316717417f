// How facts look: names, modes, times, sizes; as text and as JSON.
#pragma once
#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

#include "btrfs/file/attributes.h"
#include "core/result.h"

namespace karst::cli {

using Json = nlohmann::ordered_json;

extern const ErrorKind no_reader;  // whoever read standard output has gone: nothing to complain of
// What writing to standard output failed with.
Error output_error(int errno_value);

// A name for a terminal: printable(), so that it cannot command it. For a file or pipe the bytes themselves.
std::string shown_name(std::string_view name);
// Says on standard error what went wrong, after what was printed so far.
void print_problem(const Error& error);
void print_problem(std::string_view path, const Error& error);
// Sets object[key]; a name that is not UTF-8 has its bad bytes replaced there, and all bytes, in hexadecimal,
// in object[key + "_hex"].
void set_name(Json& object, const std::string& key, std::string_view name);

std::string mode_text(mode_t mode);                // "drwxr-xr-x"
const char* type_word(mode_t mode);                // "directory", "regular file" … as stat(1)
std::string time_text(const timespec& time);       // local, "2026-01-31 23:59"
std::string time_text_full(const timespec& time);  // local, "2026-01-31 23:59:59.123456789 +0000"
std::string time_json(const timespec& time);       // UTC, "2026-01-31T23:59:59.123456789Z"
// A time that no calendar reaches is "@SECONDS" in all three, with the nanoseconds in the last two.
std::string size_text(uint64_t bytes);  // "1.50MiB", as btrfs-progs
// Names of inode_flag bits, as `btrfs inspect-internal dump-tree` has them: "NODATASUM|NODATACOW", "none".
std::string inode_flags_text(uint64_t flags);

Json attributes_json(const btrfs::Attributes& attributes, uint32_t sectorsize);

// Prints a JSON array element by element, without holding it.
class JsonArray {
 public:
  JsonArray();
  ~JsonArray();
  void add(const Json& element);

 private:
  bool first_ = true;
};

}  // namespace karst::cli

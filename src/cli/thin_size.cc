// karst thin size: how large a metadata device should be.
#include <array>
#include <charconv>
#include <cmath>

#include "cli/output.h"
#include "cli/thin.h"
#include "core/checked.h"
#include "thin/tool/metadata_size.h"

namespace karst::cli {
namespace {

struct ThinSizeArguments {
  std::string block_size, pool_size, max_thins, unit = "s", numeric;
};

struct Unit {
  char letter;
  const char* name;
  uint64_t bytes;
};
constexpr uint64_t k = 1000;
constexpr std::array units{Unit{'b', "bytes", 1},
                           Unit{'s', "sectors", 512},
                           Unit{'k', "kibibytes", 1ull << 10},
                           Unit{'K', "kilobytes", k},
                           Unit{'m', "mebibytes", 1ull << 20},
                           Unit{'M', "megabytes", k* k},
                           Unit{'g', "gibibytes", 1ull << 30},
                           Unit{'G', "gigabytes", k* k* k},
                           Unit{'t', "tebibytes", 1ull << 40},
                           Unit{'T', "terabytes", k* k* k* k},
                           Unit{'p', "pebibytes", 1ull << 50},
                           Unit{'P', "petabytes", k* k* k* k* k}};

const Unit* unit_of(char letter) {
  const auto found = std::ranges::find(units, letter, &Unit::letter);
  return found == units.end() ? nullptr : found;
}

// A number, with the letter of a unit behind it or not.
Result<uint64_t> parse_number(const char* option, std::string_view text, uint64_t default_unit) {
  uint64_t value = 0, unit = default_unit;
  const char* end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data(), end, value);
  if (rest + 1 == end && unit_of(*rest) != nullptr) unit = unit_of(*rest++)->bytes;
  const auto scaled = checked_mul(value, unit);
  if (error == std::errc() && rest == end && scaled) return *scaled;
  return Error::make(err::invalid, "{}: '{}' is not a number with one of the units bskKmMgGtTpP", option,
                     text);
}

std::string number_text(double value) {
  if (value == std::trunc(value)) return fmt::format("{}", value);
  return value < 0.01 ? fmt::format("{:.2e}", value) : fmt::format("{:.2f}", value);
}

Result<int> run_thin_size(const Session& session, const ThinSizeArguments& arguments) {
  const uint64_t block = TRY(parse_number("--block-size", arguments.block_size, 512));
  const uint64_t pool = TRY(parse_number("--pool-size", arguments.pool_size, 512));
  const uint64_t thins = TRY(parse_number("--max-thins", arguments.max_thins, 1));
  if (block % thin::sector_size != 0 || !thin::is_data_block_size(block / thin::sector_size))
    return Error(err::invalid, "--block-size: data blocks of an impossible size")
        .expected("a multiple of 64 KiB up to 1 GiB", block);
  if (pool < block) return Error(err::invalid, "--pool-size: a pool has at least one block");
  const uint64_t bytes = thin::metadata_size_for(pool / block, thins);
  const Unit& unit = *unit_of(arguments.unit[0]);
  if (session.json()) {
    fmt::print("{}\n", Json{{"bytes", bytes}}.dump());
    return exit_ok;
  }
  const std::string number = number_text(static_cast<double>(bytes) / static_cast<double>(unit.bytes));
  if (arguments.numeric.empty())
    fmt::print("{} {}\n", number, unit.name);
  else
    fmt::print("{}{}\n", number,
               arguments.numeric == "short"  ? std::string(1, unit.letter)
               : arguments.numeric == "long" ? unit.name
                                             : "");
  return exit_ok;
}

}  // namespace

void add_thin_size(CLI::App& thin, Session& session) {
  CLI::App& verb = *thin.add_subcommand("size", "Print how large a metadata device should be");
  auto arguments = std::make_shared<ThinSizeArguments>();
  verb.add_option("-b,--block-size", arguments->block_size, "Size of a data block; sectors, or with a unit")
      ->type_name("SIZE")
      ->required();
  verb.add_option("-s,--pool-size", arguments->pool_size, "Size of the data device, likewise")
      ->type_name("SIZE")
      ->required();
  verb.add_option("-m,--max-thins", arguments->max_thins, "Devices and snapshots at most")
      ->type_name("N")
      ->required();
  verb.add_option("-u,--unit", arguments->unit, "Unit of the answer: b, s, k, K, m, M, g, G, t, T, p or P")
      ->type_name("UNIT")
      ->check(CLI::IsMember({"b", "s", "k", "K", "m", "M", "g", "G", "t", "T", "p", "P"}).description(""))
      ->capture_default_str();
  verb.add_flag("-n,--numeric-only", arguments->numeric,
                "Only the number (=short, =long: and the unit, as a letter or a word)")
      ->check(CLI::IsMember({"true", "short", "long"}).description(""));
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_thin_size(session, *arguments); });
}

}  // namespace karst::cli

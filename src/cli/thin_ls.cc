// karst thin ls: the devices of a pool, and what space they have.
#include <algorithm>
#include <array>
#include <sstream>

#include "block/open.h"
#include "cli/image_arguments.h"
#include "cli/output.h"
#include "cli/thin.h"
#include "cli/thin_arguments.h"
#include "thin/tool/usage.h"

namespace karst::cli {
namespace {

struct ThinLsArguments {
  MetadataArguments metadata;
  std::string format = "DEV,MAPPED,CREATE_TIME,SNAP_TIME";
  unsigned threads = 0;
  bool no_headers = false;
};

struct Row {
  thin::DeviceUsage usage;
  uint64_t sectors = 0;  // of a data block
};

enum class Unit { none, blocks, sectors, bytes, readable };
struct Field {
  const char* name;
  Unit unit;
  uint64_t (*value)(const thin::DeviceUsage&);
};

uint64_t mapped(const thin::DeviceUsage& usage) { return usage.mapped; }
uint64_t exclusive(const thin::DeviceUsage& usage) { return usage.exclusive(); }
uint64_t shared(const thin::DeviceUsage& usage) { return usage.shared; }
uint64_t dev(const thin::DeviceUsage& usage) { return usage.facts.id; }
uint64_t transaction(const thin::DeviceUsage& usage) { return usage.facts.transaction; }
uint64_t create_time(const thin::DeviceUsage& usage) { return usage.facts.creation_time; }
uint64_t snap_time(const thin::DeviceUsage& usage) { return usage.facts.snap_time; }

constexpr std::array fields{Field{"DEV", Unit::none, dev},
                            Field{"MAPPED_BLOCKS", Unit::blocks, mapped},
                            Field{"EXCLUSIVE_BLOCKS", Unit::blocks, exclusive},
                            Field{"SHARED_BLOCKS", Unit::blocks, shared},
                            Field{"MAPPED_SECTORS", Unit::sectors, mapped},
                            Field{"EXCLUSIVE_SECTORS", Unit::sectors, exclusive},
                            Field{"SHARED_SECTORS", Unit::sectors, shared},
                            Field{"MAPPED_BYTES", Unit::bytes, mapped},
                            Field{"EXCLUSIVE_BYTES", Unit::bytes, exclusive},
                            Field{"SHARED_BYTES", Unit::bytes, shared},
                            Field{"MAPPED", Unit::readable, mapped},
                            Field{"EXCLUSIVE", Unit::readable, exclusive},
                            Field{"SHARED", Unit::readable, shared},
                            Field{"TRANSACTION", Unit::none, transaction},
                            Field{"CREATE_TIME", Unit::none, create_time},
                            Field{"SNAP_TIME", Unit::none, snap_time}};

// Fields by their names; nothing if one is unknown.
std::optional<std::vector<const Field*>> parse_fields(const std::string& text) {
  std::vector<const Field*> chosen;
  std::istringstream names(text);
  for (std::string name; std::getline(names, name, ',');) {
    const auto field = std::ranges::find(fields, std::string_view(name), &Field::name);
    if (field == fields.end()) return std::nullopt;
    chosen.push_back(field);
  }
  return chosen;
}

CLI::Validator known_fields() {
  const auto check = [](const std::string& text) {
    return parse_fields(text) ? std::string() : fmt::format("unknown field in '{}'", text);
  };
  return CLI::Validator(check, "");
}

// At most 8192 of a unit; below 1024 of it rounded, above cut, as thin_ls has it.
std::string readable_size(uint64_t bytes) {
  constexpr std::array units{"", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  size_t unit = 0;
  uint64_t value = bytes, finer = bytes;
  for (; value > 8192 && unit + 1 < units.size(); ++unit, value /= 1024) finer = value;
  if (unit > 0 && value < 1024) value = (finer + 512) / 1024;
  return fmt::format("{}{}", value, units[unit]);
}

std::string cell(const Field& field, const Row& row) {
  const uint64_t value = field.value(row.usage), sectors = value * row.sectors;
  switch (field.unit) {
    case Unit::none:
    case Unit::blocks: return fmt::to_string(value);
    case Unit::sectors: return fmt::to_string(sectors);
    case Unit::bytes: return fmt::to_string(sectors * thin::sector_size);
    case Unit::readable: return readable_size(sectors * thin::sector_size);
  }
  return "";
}

void print_table(const std::vector<const Field*>& chosen, const std::vector<Row>& rows, bool headers) {
  std::vector<std::vector<std::string>> lines;
  if (headers) {
    lines.emplace_back();
    for (const Field* field : chosen) lines.back().emplace_back(field->name);
  }
  for (const Row& row : rows) {
    lines.emplace_back();
    for (const Field* field : chosen) lines.back().push_back(cell(*field, row));
  }
  std::vector<size_t> widths(chosen.size());
  for (const auto& line : lines)
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  for (const auto& line : lines) {
    for (size_t i = 0; i < line.size(); ++i) fmt::print("{:>{}} ", line[i], widths[i]);
    fmt::print("\n");
  }
}

void print_json(const std::vector<Row>& rows) {
  JsonArray array;
  for (const Row& row : rows)
    array.add({{"dev_id", row.usage.facts.id},
               {"mapped_blocks", row.usage.mapped},
               {"exclusive_blocks", row.usage.exclusive()},
               {"shared_blocks", row.usage.shared},
               {"block_bytes", row.sectors * thin::sector_size},
               {"transaction", row.usage.facts.transaction},
               {"creation_time", row.usage.facts.creation_time},
               {"snap_time", row.usage.facts.snap_time}});
}

Result<int> run_thin_ls(const Session& session, const ThinLsArguments& arguments) {
  const auto opened = TRY(arguments.metadata.open());
  const auto pool = TRY(WorkerPool::create({.name = "ls", .threads = arguments.threads}));
  const uint64_t memory = TRY(block::parse_size(arguments.metadata.cache_size));
  std::vector<Row> rows;
  for (const thin::DeviceUsage& usage : TRY(thin::device_usage(*opened.reader, *pool, memory)))
    rows.push_back({usage, opened.reader->facts().data_block_size});
  if (session.json())
    print_json(rows);
  else
    print_table(*parse_fields(arguments.format), rows, !arguments.no_headers);
  return exit_ok;
}

}  // namespace

void add_thin_ls(CLI::App& thin, Session& session) {
  CLI::App& verb = *thin.add_subcommand("ls", "List the devices of a pool");
  auto arguments = std::make_shared<ThinLsArguments>();
  arguments->metadata.declare(verb);
  verb.add_option("-o,--format", arguments->format, "Fields to print, with commas between them")
      ->type_name("FIELDS")
      ->check(known_fields())
      ->capture_default_str();
  verb.add_flag("--no-headers", arguments->no_headers, "Without the line of names");
  add_threads(verb, arguments->threads, "Threads");
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_thin_ls(session, *arguments); });
}

}  // namespace karst::cli

// karst thin rmap: which devices have given data blocks.
#include <charconv>

#include "cli/output.h"
#include "cli/thin.h"
#include "cli/thin_arguments.h"
#include "thin/tool/reverse_map.h"

namespace karst::cli {
namespace {

struct ThinRmapArguments {
  MetadataArguments metadata;
  std::vector<std::string> regions;
};

// BEGIN..END, where END is not in it.
std::optional<thin::DataRange> parse_region(std::string_view text) {
  const size_t dots = text.find("..");
  if (dots == text.npos) return std::nullopt;
  thin::DataRange range;
  const auto number = [](std::string_view part, uint64_t& value) {
    const auto [rest, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    return error == std::errc() && rest == part.data() + part.size();
  };
  if (!number(text.substr(0, dots), range.begin) || !number(text.substr(dots + 2), range.end))
    return std::nullopt;
  if (range.begin >= range.end) return std::nullopt;
  return range;
}

CLI::Validator region() {
  const auto check = [](const std::string& text) {
    return parse_region(text) ? std::string()
                              : fmt::format("'{}' is not a region BEGIN..END of blocks", text);
  };
  return CLI::Validator(check, "");
}

Result<int> run_thin_rmap(const Session& session, const ThinRmapArguments& arguments) {
  const auto opened = TRY(arguments.metadata.open());
  std::vector<thin::DataRange> ranges;
  for (const std::string& text : arguments.regions) ranges.push_back(*parse_region(text));
  const auto runs = TRY(thin::reverse_map(*opened.reader, ranges));
  std::optional<JsonArray> array;
  if (session.json()) array.emplace();
  for (const thin::ReverseRun& run : runs) {
    const uint64_t data = raw(run.data), begin = raw(run.begin);
    if (array)
      array->add(
          {{"data_begin", data}, {"length", run.length}, {"dev_id", run.device}, {"origin_begin", begin}});
    else
      fmt::print("data {}..{} -> thin({}) {}..{}\n", data, data + run.length, run.device, begin,
                 begin + run.length);
  }
  return exit_ok;
}

}  // namespace

void add_thin_rmap(CLI::App& thin, Session& session) {
  CLI::App& verb = *thin.add_subcommand("rmap", "Print which devices have mapped given data blocks");
  auto arguments = std::make_shared<ThinRmapArguments>();
  arguments->metadata.declare(verb);
  verb.add_option("--region", arguments->regions, "Data blocks BEGIN..END, the end not included (repeatable)")
      ->type_name("REGION")
      ->allow_extra_args(false)
      ->check(region())
      ->required();
  session.offer_json(verb);
  session.verb(verb, [&session, arguments] { return run_thin_rmap(session, *arguments); });
}

}  // namespace karst::cli

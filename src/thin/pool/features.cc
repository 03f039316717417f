#include "thin/pool/features.h"

#include <charconv>
#include <optional>
#include <vector>

#include "thin/format/ids.h"

namespace karst::thin {
namespace {

constexpr size_t features_max = 5;

// Each has a word, which says that the flag is not what it is by default. In the order of the kernel's table.
struct Feature {
  std::string_view word;
  bool PoolFeatures::*flag;
  bool value;
};
constexpr Feature features[] = {
    {"skip_block_zeroing", &PoolFeatures::zero_new_blocks, false},
    {"ignore_discard", &PoolFeatures::handle_discards, false},
    {"no_discard_passdown", &PoolFeatures::discard_passdown, false},
    {"read_only", &PoolFeatures::read_only, true},
    {"error_if_no_space", &PoolFeatures::error_if_no_space, true},
};

}  // namespace

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  constexpr std::string_view blanks = " \t\n";
  for (size_t begin = text.find_first_not_of(blanks); begin != text.npos;) {
    const size_t end = std::min(text.find_first_of(blanks, begin), text.size());
    words.push_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(blanks, end);
  }
  return words;
}

Result<PoolFeatures> parse_features(std::span<const std::string_view> words) {
  PoolFeatures parsed;
  if (words.empty()) return parsed;
  const auto count = parse_number(words[0]);
  if (!count || *count > features_max || *count > words.size() - 1)
    return Error(err::invalid, "Invalid number of pool feature arguments");
  for (const std::string_view word : words.subspan(1, *count)) {
    const Feature* known = nullptr;
    for (const Feature& feature : features)
      if (feature.word == word) known = &feature;
    if (known == nullptr) return Error(err::invalid, "Unrecognised pool feature requested");
    parsed.*known->flag = known->value;
  }
  return parsed;
}

std::string features_text(const PoolFeatures& set) {
  std::string text;
  size_t count = 0;
  for (const Feature& feature : features) {
    if (set.*feature.flag != feature.value) continue;
    ++count;
    text += fmt::format("{} ", feature.word);
  }
  return fmt::format("{} {}", count, text);
}

Result<PoolTable> parse_pool_table(std::string_view text) {
  const auto words = split_words(text);
  if (words.size() < 4) return Error(err::invalid, "Invalid argument count");
  PoolTable table;
  table.features = TRY(parse_features(std::span(words).subspan(4)));
  table.metadata = words[0];
  table.data = words[1];
  const auto sectors = parse_number(words[2]);
  if (!sectors || !is_data_block_size(*sectors)) return Error(err::invalid, "Invalid block size");
  table.block_sectors = static_cast<uint32_t>(*sectors);
  const auto low_water = parse_number(words[3]);
  if (!low_water) return Error(err::invalid, "Invalid low water mark");
  table.low_water_blocks = *low_water;
  return table;
}

std::string table_text(const PoolTable& table) {
  return fmt::format("{} {} {} {} {}", table.metadata, table.data, table.block_sectors,
                     table.low_water_blocks, features_text(table.features));
}

}  // namespace karst::thin

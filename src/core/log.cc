#include "core/log.h"

#include <iterator>

namespace karst {
namespace {

// The length of the well-formed UTF-8 sequence at the start, beyond ASCII and not a control character; or 0.
size_t utf8_length(std::string_view text) {
  auto at = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto follows = [&](size_t i) { return (at(i) & 0xc0) == 0x80; };
  unsigned first = at(0);
  if (first >= 0xc2 && first <= 0xdf && follows(1)) return first == 0xc2 && at(1) < 0xa0 ? 0 : 2;
  if (first >= 0xe0 && first <= 0xef && follows(1) && follows(2)) {
    bool overlong = first == 0xe0 && at(1) < 0xa0;
    bool surrogate = first == 0xed && at(1) >= 0xa0;
    return overlong || surrogate ? 0 : 3;
  }
  if (first >= 0xf0 && first <= 0xf4 && follows(1) && follows(2) && follows(3)) {
    bool overlong = first == 0xf0 && at(1) < 0x90;
    bool too_high = first == 0xf4 && at(1) >= 0x90;
    return overlong || too_high ? 0 : 4;
  }
  return 0;
}

void append_printable(std::string& out, std::string_view text) {
  while (!text.empty()) {
    auto byte = static_cast<unsigned char>(text.front());
    size_t length = byte >= 0x20 && byte < 0x7f ? 1 : utf8_length(text);
    if (length == 0)
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    else
      out += text.substr(0, length);
    text.remove_prefix(std::max<size_t>(length, 1));
  }
}

}  // namespace

const char* log_level_name(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return "debug";
    case LogLevel::info: return "info";
    case LogLevel::warning: return "warning";
    case LogLevel::error: return "error";
  }
  return "unknown";
}

std::string LogRecord::text() const {
  std::string text = "karst: ";
  append_printable(text, what);
  const char* separator = ": ";
  for (const LogPlace& place : places) {
    text += separator;
    text += place.key;
    text += ' ';
    append_printable(text, place.value);
    separator = ", ";
  }
  if (!why.empty()) {
    text += ": ";
    append_printable(text, why);
  }
  return text;
}

Logger Logger::with(std::initializer_list<LogPlace> places) const {
  Logger logger = *this;
  logger.places_.insert(logger.places_.end(), places.begin(), places.end());
  return logger;
}

void Logger::write(LogLevel level, std::string_view what, std::initializer_list<LogPlace> places,
                   const Error* why) const {
  if (!enabled(level)) return;
  LogRecord record{level, what, places_, why ? why->message() : std::string()};
  record.places.insert(record.places.end(), places.begin(), places.end());
  sink_->write(record);
}

void TextSink::write(const LogRecord& record) {
  std::string line = record.text() + "\n";
  std::fwrite(line.data(), 1, line.size(), file_);  // whole: the stream locks itself
  std::fflush(file_);
}

void MemorySink::write(const LogRecord& record) {
  lines_.with([&](auto& lines) { lines.push_back(record.text()); });
}

std::vector<std::string> MemorySink::lines() const {
  return lines_.with([](const auto& lines) { return lines; });
}

// The next sink is called without our lock, which others wait for.
void RateLimitSink::write(const LogRecord& record) {
  bool pass = false;
  uint64_t left_out = 0;
  {
    MutexLock lock(mutex_);
    Key key(record.level, record.what);
    if (!allowances_.contains(key) && allowances_.size() >= options_.messages_max)
      key = {record.level, "messages of many kinds"};
    Allowance& allowance = allowances_[key];
    auto now = options_.clock();
    if (allowance.passed == 0 || now - allowance.since >= options_.interval) {
      left_out = allowance.left_out;
      allowance = {now, 0, 0};
    }
    pass = allowance.passed < options_.burst;
    if (pass)
      ++allowance.passed;
    else
      ++allowance.left_out;
  }
  if (left_out) say_left_out(record.level, record.what, left_out);
  if (pass) next_.write(record);
}

void RateLimitSink::say_left_out(LogLevel level, std::string_view what, uint64_t count) {
  next_.write(LogRecord{level, "left out more like the last", {{"times", count}, {"message", what}}, {}});
}

RateLimitSink::~RateLimitSink() {
  std::map<Key, Allowance> allowances;
  {
    MutexLock lock(mutex_);
    allowances.swap(allowances_);
  }
  for (const auto& [key, allowance] : allowances)
    if (allowance.left_out) say_left_out(key.first, key.second, allowance.left_out);
}

}  // namespace karst

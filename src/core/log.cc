#include "core/log.h"

#include "core/printable.h"

namespace karst {
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
  text += printable(what);
  const char* separator = ": ";
  for (const LogPlace& place : places) {
    text += separator;
    text += place.key;
    text += ' ';
    text += printable(place.value);
    separator = ", ";
  }
  if (!why.empty()) {
    text += ": ";
    text += printable(why);
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

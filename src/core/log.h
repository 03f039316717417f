// What happened, told to whoever runs us: a level, a message in fixed words, the places it concerns, and
// why. A Logger is handed down and copied freely; it carries places of its own ("device sda"), so that a
// layer names only what it knows. There is no global one.
//
//   log.warning("using the other copy of a tree block", {{"logical", bytenr}, {"mirror", 1}}, &error);
//
// Sinks are used by many threads and may be put behind each other:
//   TextSink text(stderr);  RateLimitSink limited(text);  Logger log(limited);
#pragma once
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/mutex.h"

namespace karst {

enum class LogLevel : uint8_t { debug, info, warning, error };
const char* log_level_name(LogLevel level);

struct LogPlace {
  template <typename T>
  LogPlace(const char* place_key, const T& place_value)
      : key(place_key), value(fmt::format("{}", place_value)) {}
  const char* key;  // a literal
  std::string value;
};

// Borrowed for the call.
struct LogRecord {
  LogLevel level;
  std::string_view what;  // the same words each time
  std::vector<LogPlace> places;
  std::string why;  // an error's message, or nothing

  // "karst: what: key value, key value: why". Bytes that are not printable ASCII or part of UTF-8 are shown
  // as \xNN: names in a broken image must not reach a terminal as commands.
  std::string text() const;
};

class LogSink {
 public:
  virtual ~LogSink() = default;
  virtual void write(const LogRecord& record) = 0;
};

class Logger {
 public:
  Logger() = default;  // says nothing
  explicit Logger(LogSink& sink, LogLevel least = LogLevel::info) : sink_(&sink), least_(least) {}
  // One that adds these places to each message, before the message's own.
  Logger with(std::initializer_list<LogPlace> places) const;

  bool enabled(LogLevel level) const { return sink_ && level >= least_; }
  void write(LogLevel level, std::string_view what, std::initializer_list<LogPlace> places = {},
             const Error* why = nullptr) const;
  void debug(std::string_view what, std::initializer_list<LogPlace> places = {},
             const Error* why = nullptr) const {
    write(LogLevel::debug, what, places, why);
  }
  void info(std::string_view what, std::initializer_list<LogPlace> places = {},
            const Error* why = nullptr) const {
    write(LogLevel::info, what, places, why);
  }
  void warning(std::string_view what, std::initializer_list<LogPlace> places = {},
               const Error* why = nullptr) const {
    write(LogLevel::warning, what, places, why);
  }
  void error(std::string_view what, std::initializer_list<LogPlace> places = {},
             const Error* why = nullptr) const {
    write(LogLevel::error, what, places, why);
  }

 private:
  LogSink* sink_ = nullptr;  // outlives us
  LogLevel least_ = LogLevel::info;
  std::vector<LogPlace> places_;
};

// One line of text for each record.
class TextSink : public LogSink {
 public:
  explicit TextSink(std::FILE* file) : file_(file) {}
  void write(const LogRecord& record) override;

 private:
  std::FILE* file_;  // not ours
};

// Keeps the lines, for tests.
class MemorySink : public LogSink {
 public:
  void write(const LogRecord& record) override;
  std::vector<std::string> lines() const;

 private:
  static constexpr LockClass lock_class{"log.memory"};
  Guarded<std::vector<std::string>> lines_{lock_class};
};

// Lets a message (by level and words, whatever its places) through so many times in each interval, and says
// afterwards how many were left out. Remembers a bounded number of messages.
class RateLimitSink : public LogSink {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  struct Options {
    unsigned burst = 10;
    std::chrono::nanoseconds interval = std::chrono::seconds(5);
    size_t messages_max = 256;  // others share one allowance
    Clock clock = [] { return std::chrono::steady_clock::now(); };
  };
  RateLimitSink(LogSink& next, Options options) : next_(next), options_(std::move(options)) {}
  explicit RateLimitSink(LogSink& next) : RateLimitSink(next, Options{}) {}
  ~RateLimitSink() override;  // says what was left out last
  void write(const LogRecord& record) override;

 private:
  struct Allowance {
    std::chrono::steady_clock::time_point since{};
    unsigned passed = 0;
    uint64_t left_out = 0;
  };
  using Key = std::pair<LogLevel, std::string>;
  void say_left_out(LogLevel level, std::string_view what, uint64_t count);

  LogSink& next_;
  const Options options_;
  static constexpr LockClass lock_class{"log.rate-limit"};
  Mutex mutex_{lock_class};
  std::map<Key, Allowance> allowances_ GUARDED_BY(mutex_);
};

}  // namespace karst

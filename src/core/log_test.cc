#include "core/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace karst {
namespace {

using testing::ElementsAre;

TEST(Log, ALineSaysWhatWhereAndWhy) {
  MemorySink sink;
  Logger log(sink);
  Error why = Error(err::checksum, "bad checksum").at("mirror", 1);
  log.with({{"device", "a.img"}}).warning("using the other copy", {{"logical", 4096}}, &why);
  log.info("mounted");
  EXPECT_THAT(
      sink.lines(),
      ElementsAre(
          "karst: using the other copy: device a.img, logical 4096: bad checksum at mirror 1 [checksum]",
          "karst: mounted"));
}

TEST(Log, LevelsBelowTheLeastAndALoggerWithoutSinkSayNothing) {
  MemorySink sink;
  Logger log(sink, LogLevel::warning);
  log.info("a");
  log.debug("b");
  log.error("c");
  Logger().error("d");
  EXPECT_THAT(sink.lines(), ElementsAre("karst: c"));
}

TEST(Log, BytesFromAnImageCannotCommandATerminal) {
  MemorySink sink;
  Logger log(sink);
  log.info("found", {{"name", std::string_view("a\n\x1b[2Jb\xff\xc2\x9b\0é", 13)}});
  EXPECT_THAT(sink.lines(), ElementsAre("karst: found: name a\\x0a\\x1b[2Jb\\xff\\xc2\\x9b\\x00é"));
}

TEST(TextSink, WritesWholeLinesToItsFile) {
  char* text = nullptr;
  size_t size = 0;
  std::FILE* file = open_memstream(&text, &size);
  TextSink sink(file);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back([&] { Logger(sink).info("line", {{"number", 1}}); });
  }
  std::fclose(file);
  std::string expected;
  for (int i = 0; i < 4; ++i) expected += "karst: line: number 1\n";
  EXPECT_EQ(std::string(text, size), expected);
  std::free(text);
}

class RateLimit : public testing::Test {
 protected:
  RateLimitSink::Options options() {
    return {
        .burst = 2, .interval = std::chrono::seconds(5), .messages_max = 3, .clock = [this] { return now; }};
  }
  std::chrono::steady_clock::time_point now{std::chrono::hours(1)};
  MemorySink memory;
};

TEST_F(RateLimit, AMillionBadBlocksAreAFewLines) {
  {
    RateLimitSink sink(memory, options());
    Logger log(sink);
    for (int i = 0; i < 1'000'000; ++i) log.error("bad block", {{"logical", i}});
  }
  EXPECT_THAT(memory.lines(),
              ElementsAre("karst: bad block: logical 0", "karst: bad block: logical 1",
                          "karst: left out more like the last: times 999998, message bad block"));
}

TEST_F(RateLimit, AfterTheIntervalItSaysHowManyWereLeftOutAndGoesOn) {
  RateLimitSink sink(memory, options());
  Logger log(sink);
  for (int i = 0; i < 5; ++i) log.error("bad block");
  now += std::chrono::seconds(5);
  log.error("bad block");
  EXPECT_THAT(memory.lines(), ElementsAre("karst: bad block", "karst: bad block",
                                          "karst: left out more like the last: times 3, message bad block",
                                          "karst: bad block"));
}

TEST_F(RateLimit, OtherMessagesAreNotHeldBack) {
  RateLimitSink sink(memory, options());
  Logger log(sink);
  for (int i = 0; i < 5; ++i) log.error("bad block");
  log.error("mount failed");
  log.info("bad block");  // another level
  EXPECT_EQ(memory.lines().size(), 4u);
}

TEST_F(RateLimit, ManyDifferentMessagesShareOneAllowance) {
  RateLimitSink sink(memory, options());
  Logger log(sink);
  for (int i = 0; i < 1000; ++i) log.error(fmt::format("message {}", i));
  EXPECT_EQ(memory.lines().size(), 3u + 2u);
}

}  // namespace
}  // namespace karst

#include "cli/progress_bar.h"

#include <gtest/gtest.h>

#include <chrono>

namespace karst::cli {
namespace {

TEST(ProgressBar, IsShownWhereThereIsNoTerminalOnlyIfThatIsWanted) {
  Progress progress;
  progress.begin_phase("checking extents", 4 << 20);
  progress.add(1 << 20, 3);
  auto shown = [&](ProgressBar::Shown how, std::chrono::seconds time) {
    testing::internal::CaptureStderr();
    {
      ProgressBar bar(progress, how);
      std::this_thread::sleep_for(time);
    }
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(shown(ProgressBar::Shown::on_terminal, std::chrono::seconds(0)), "");
  const std::string lines =
      shown(ProgressBar::Shown::always, std::chrono::seconds(2));  // the first after one
  EXPECT_NE(lines.find("checking extents: 1.00MiB of 4.00MiB (25%), 3 entries"), std::string::npos) << lines;
  EXPECT_EQ(lines.find('\r'), std::string::npos);
}

}  // namespace
}  // namespace karst::cli

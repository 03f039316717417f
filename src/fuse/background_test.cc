#include "fuse/background.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>

namespace karst::fuse {
namespace {

// What the parent is told when the child does this, and ends with what it returns.
template <typename F>
int status_after(F&& in_child) {
  Background background;
  auto status = background.fork();
  if (status && !*status) _exit(in_child(background));
  EXPECT_TRUE(status) << status.error().message();
  return status && *status ? **status : -1;
}

TEST(Background, TheParentReturnsWhenTheChildIsReady) {
  EXPECT_EQ(status_after([](Background& background) { return background.ready() ? 7 : 8; }), 0);
  int status;
  ::wait(&status);  // the child went on to its own end
  EXPECT_EQ(WEXITSTATUS(status), 7);
}

TEST(Background, TheChildsFailureIsTheParents) {
  EXPECT_EQ(status_after([](Background&) { return 3; }), 3);
}

TEST(Background, EndingWithoutBeingReadyIsAFailure) {
  EXPECT_NE(status_after([](Background&) { return 0; }), 0);
}

TEST(Background, ASignalIsAFailureToo) {
  EXPECT_EQ(status_after([](Background&) { return ::raise(SIGKILL); }), 128 + SIGKILL);
}

TEST(Background, ADaemonHasItsOwnSessionAndHoldsNoDirectory) {
  EXPECT_EQ(status_after([](Background& background) {
              if (!background.ready()) return 1;
              char directory[8];
              return ::getsid(0) == ::getpid() && ::getcwd(directory, sizeof directory) &&
                             directory == std::string("/")
                         ? 0
                         : 2;
            }),
            0);
  int status;
  ::wait(&status);
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace karst::fuse

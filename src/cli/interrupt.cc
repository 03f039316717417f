#include "cli/interrupt.h"

#include <csignal>

namespace karst::cli {
namespace {
const CancelSource* interrupted = nullptr;  // all that a signal handler can know
}

CancelToken cancelled_by_signals() {
  static const CancelSource source;
  interrupted = &source;
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted->cancel(); };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (int number : {SIGINT, SIGTERM}) ::sigaction(number, &action, nullptr);
  return source.token();
}

}  // namespace karst::cli

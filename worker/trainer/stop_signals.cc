#include "worker/trainer/stop_signals.h"

#include <signal.h>

#include <csignal>

#include "common/base/process.h"

namespace galleon {

namespace {

// Set by a thread that a library started before us, if such a one gets the signal. It does not compute for us.
volatile std::sig_atomic_t handled = 0;

}  // namespace

void keep_stop_signals() {
  struct sigaction action {};
  action.sa_handler = [](int) { handled = 1; };
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  // Threads inherit the mask. A signal that all of them block stays pending.
  block_end_signals();
}

bool stop_signalled() {
  sigset_t pending;
  ::sigemptyset(&pending);
  ::sigpending(&pending);
  return handled != 0 || ::sigismember(&pending, SIGTERM) == 1 || ::sigismember(&pending, SIGINT) == 1;
}

}  // namespace galleon

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
  for (const int number : {SIGTERM, SIGINT, SIGUSR1}) ::sigaction(number, &action, nullptr);
  // Threads inherit the mask. A signal that all of them block stays pending.
  block_end_signals();
  sigset_t one_more;
  ::sigemptyset(&one_more);
  ::sigaddset(&one_more, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &one_more, nullptr);
}

bool stop_signalled() {
  sigset_t pending;
  ::sigemptyset(&pending);
  ::sigpending(&pending);
  return handled != 0 || ::sigismember(&pending, SIGTERM) == 1 || ::sigismember(&pending, SIGINT) == 1 ||
         ::sigismember(&pending, SIGUSR1) == 1;
}

}  // namespace galleon

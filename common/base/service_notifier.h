// What a service tells the manager that started it, through the socket of NOTIFY_SOCKET (sd_notify(3)): that it serves,
// reads its files again, or ends, and that it still makes progress. Nothing where no such socket is named.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace galleon {

class ServiceNotifier {
 public:
  // Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, so that no child speaks for this
  // process: before other threads start.
  static ServiceNotifier from_environment();
  // `socket`: a path, or "@NAME" of an abstract socket; empty: tells nobody. `watchdog`: the service is ended when
  // nothing is heard of its progress for so long; zero: nobody waits for that.
  explicit ServiceNotifier(std::string socket = "", absl::Duration watchdog = absl::ZeroDuration());

  void ready(absl::string_view status) const;
  // ready() says that it is done.
  void reloading() const;
  void stopping() const;
  // What does the service's work calls this after each round, at `now` by a clock that does not jump. From one thread.
  void progressed(absl::Duration now);

 private:
  void tell(const std::string& lines) const;

  std::string socket_;
  absl::Duration pause_;  // between two signs of life
  absl::Duration next_ = -absl::InfiniteDuration();
};

}  // namespace galleon

#include "worker/daemon/daemon.h"

#include "worker/daemon/daemon_loop.h"

namespace galleon {

absl::Status run_daemon(const DaemonOptions& options) {
  DaemonLoop loop(options);
  if (absl::Status s = loop.prepare(); !s.ok()) return s;
  return loop.run();
}

}  // namespace galleon

#include "worker/daemon/daemon.h"

#include "common/base/status_macros.h"
#include "worker/daemon/daemon_loop.h"

namespace galleon {

absl::Status run_daemon(const DaemonOptions& options) {
  DaemonLoop loop(options);
  RETURN_IF_ERROR(loop.prepare());
  return loop.run();
}

}  // namespace galleon

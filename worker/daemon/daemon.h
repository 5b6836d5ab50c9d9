// The worker daemon: keeps what it runs equal to what the scheduler says it should run. Level-triggered: each sync
// reports everything held and answers with everything to hold, so that lost, doubled and late messages change nothing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/service_notifier.h"
#include "common/net/tls_watch.h"

namespace grpc {
class ChannelCredentials;
}  // namespace grpc

namespace galleon {

struct DaemonOptions {
  std::string server;                                     // HOST:PORT of the scheduler
  std::shared_ptr<grpc::ChannelCredentials> credentials;  // null: no TLS
  std::string name;
  std::string data;  // the daemon's own folder
  uint32_t slots = 1;
  std::string device = "cpu";  // what slots are: "auto", "cpu" or "cuda"
  std::vector<std::string> allow;
  std::vector<std::string> allow_copies;
  std::vector<std::string> allow_tracking;
  std::string trainer_user;                // who trainers run as; empty: this daemon's own user
  std::string metrics;                     // HOST:PORT; empty: no endpoint
  bool metrics_plain_http = false;         // without TLS beyond loopback too
  std::string metrics_token;               // HttpEndpointOptions::metrics_token
  const TlsWatch* certificates = nullptr;  // of it, which outlives the daemon; null: no TLS
  std::string tls;                         // folder of the certificate, which the endpoint shows too; empty: none
  std::string ready_file;                  // empty: none
  std::map<std::string, std::string> labels;
  uint64_t memory_per_slot = 0;  // 0: available memory / slots
  std::string executable;        // this program, for the supervisor
  std::string trainer;
  uint32_t threads = 0;   // 0: cores / slots
  std::string interface;  // for trainers; empty: the address by which this machine reaches the scheduler
  uint64_t spool_bytes = 64 << 20;
  uint64_t token_cache_bytes = uint64_t{64} << 30;    // of tokens that the jobs of a folder share; 0: none is shared
  uint64_t keep_free = 0;                             // of the jobs' disk, see DiskGuard
  absl::Duration probe_interval = absl::Seconds(30);  // between two looks at whether ranks can run here
  absl::Duration stop_grace = absl::Seconds(60);      // for trainers when the daemon is told to end
  ServiceNotifier* service = nullptr;                 // outlives the daemon; null: tells nobody
  int stop_fd = -1;                                   // readable when the daemon should end
};

// Runs until `stop_fd` becomes readable and everything is handed back (OK), or until the scheduler refuses this daemon:
// ALREADY_EXISTS (name), FAILED_PRECONDITION (version), ABORTED (name taken over). UNAVAILABLE: the data folder is in
// use.
absl::Status run_daemon(const DaemonOptions& options);

}  // namespace galleon

// The gRPC services over one loop. Calls are answered on the loop's thread, streams are fed after each of its rounds.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "galleon/v1/job.pb.h"
#include "grpcpp/impl/codegen/service_type.h"
#include "server/api/access.h"
#include "server/api/attachments.h"
#include "server/api/audit.h"
#include "server/api/log_files.h"
#include "server/api/log_tally.h"
#include "server/api/loop.h"
#include "server/api/metric_files.h"
#include "server/api/metrics.h"
#include "server/api/open_calls.h"
#include "server/api/planner.h"
#include "server/api/rate_limit.h"
#include "server/api/readers.h"
#include "server/api/reload.h"
#include "server/api/resolver.h"
#include "server/api/submit_rates.h"

namespace galleon::server {

// What the services work with; all of it outlives them.
struct ServiceContext {
  Loop* loop = nullptr;
  const JobFolders* folders = nullptr;
  Planner* planner = nullptr;
  Resolver* resolver = nullptr;
  Attachments* attachments = nullptr;
  LogFiles* logs = nullptr;
  LogTally* log_tally = nullptr;
  MetricFiles* metric_files = nullptr;
  std::function<void()> count_logs;        // that were there before; the first thing that the logs' thread does
  std::function<std::string()> log_space;  // why the disk has no room for logs; empty: it has. For one thread
  Metrics* metrics = nullptr;
  const Journal* journal = nullptr;
  const AccessInForce* access = nullptr;
  RateLimit* rates = nullptr;
  OpenCalls* open_calls = nullptr;
  Readers* readers = nullptr;
  SubmitRates* submits = nullptr;
  Audit* audit = nullptr;
  Reload* reload = nullptr;
  std::string jobs_folder;    // absolute
  std::string inside;         // a word by which calls from inside are known
  std::string backup_folder;  // absolute, for files that are sent and removed
  // Further checks of a job beyond the service's own: INVALID_ARGUMENT as "field: what is wrong". Empty: none.
  std::function<absl::Status(const v1::Job&)> validate_job;
};

// A service that can be told to end its open calls with UNAVAILABLE and to refuse new ones.
class StoppableService {
 public:
  virtual ~StoppableService() = default;
  virtual grpc::Service* service() = 0;
  virtual void shut_down() = 0;
};

// Both add observers to the loop: make them before it starts.
std::unique_ptr<StoppableService> make_job_service(const ServiceContext& context);
std::unique_ptr<StoppableService> make_group_service(const ServiceContext& context);
std::unique_ptr<StoppableService> make_worker_service(const ServiceContext& context);
std::unique_ptr<StoppableService> make_queue_service(const ServiceContext& context);
std::unique_ptr<StoppableService> make_admin_service(const ServiceContext& context);

}  // namespace galleon::server

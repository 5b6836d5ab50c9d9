// Calls of an MLflow server's REST interface (version 2.0 of it, which servers of 1.x to 3.x speak).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/engine/tracking/mlflow_access.h"

namespace galleon {

struct MlflowMetric {
  std::string name;
  double value = 0;
  int64_t time_ms = 0;
  int64_t step = 0;
};
using MlflowPairs = std::vector<std::pair<std::string, std::string>>;  // parameters or tags

// Errors of all calls. UNAVAILABLE: out of reach, overloaded or broken for now; the call may be repeated, and may have
// been obeyed. NOT_FOUND: it does not know what was asked for. ALREADY_EXISTS. PERMISSION_DENIED: credentials are
// missing or are not enough. FAILED_PRECONDITION: what else it refuses, in its words. CANCELLED: `stop`.
class MlflowServer {
 public:
  // Most of each in one call.
  static constexpr size_t kMostMetrics = 1000;
  static constexpr size_t kMostParameters = 100;

  // Reuses its connection. `stop`: the call in flight ends soon after it is set. `timeout`: of one call.
  MlflowServer(MlflowAccess access, const std::atomic<bool>* stop, absl::Duration timeout = absl::Seconds(30));
  ~MlflowServer();
  MlflowServer(const MlflowServer&) = delete;
  MlflowServer& operator=(const MlflowServer&) = delete;

  // The experiment's id; it is made where there is none.
  absl::StatusOr<std::string> experiment(const std::string& name);
  // The run's id.
  absl::StatusOr<std::string> create_run(const std::string& experiment_id, const std::string& name, int64_t start_ms,
                                         const MlflowPairs& tags);
  // The id of the run with that tag.
  absl::StatusOr<std::string> find_run(const std::string& experiment_id, const std::string& tag,
                                       const std::string& value);
  // None of the lists may be longer than it says above.
  absl::Status log(const std::string& run_id, const std::vector<MlflowMetric>& metrics, const MlflowPairs& parameters,
                   const MlflowPairs& tags);
  // `status`: RUNNING, FINISHED, FAILED or KILLED. end_ms 0: it has not ended.
  absl::Status update(const std::string& run_id, const std::string& status, int64_t end_ms);

  // How long the server asked to be left alone, with the newest answer; zero: it did not.
  absl::Duration asked_to_wait() const { return asked_to_wait_; }

 private:
  struct Call;
  struct Answer {
    long code = 0;
    std::string body;
    absl::Duration retry_after;
  };
  absl::StatusOr<nlohmann::ordered_json> get(const std::string& path, const std::string& key, const std::string& value);
  absl::StatusOr<nlohmann::ordered_json> post(const std::string& path, const nlohmann::ordered_json& body);
  absl::StatusOr<nlohmann::ordered_json> read(const absl::StatusOr<Answer>& answer);
  // body: nullptr for a GET.
  absl::StatusOr<Answer> call(const std::string& url, const std::string* body);

  const MlflowAccess access_;
  const absl::Duration timeout_;
  const std::unique_ptr<Call> call_;
  absl::Duration asked_to_wait_;
};

}  // namespace galleon
